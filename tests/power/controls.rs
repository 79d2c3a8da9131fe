//! The table's own proof: on a disk that breaks a promise its rows fail.

use crate::cases::Case;
use crate::crash::{Nested, crash_points};
use crate::fixture::{Fixture, WALLET};
use crate::liar::{LIES, Lie, lying};
use crate::scale::Scale;

/// Enough for a row to fail.
const FEW: Scale = Scale { mixtures: 64, nested_each: 64, is_deep: false };

/// The rows that must fail when a safeguard is missing.
fn must_fail(lie: Lie) -> &'static [&'static str] {
    match lie {
        Lie::Sync("") => {
            &["append, sync", "reorganise", "condemned, addresses, mempool", "new wallet", "save a wallet"]
        }
        Lie::Sync(".new") => &["condemned, addresses, mempool"],
        Lie::Sync(WALLET) => &["new wallet", "save a wallet"],
        Lie::SyncDir => &["found a directory", "append, sync", "condemned, addresses, mempool", "new wallet"],
        Lie::Sync(_) => &["append, sync", "reorganise", "checkpoint", "rebuild the index", "mark anew"],
        Lie::MarkMoves => &["append, sync", "reorganise", "checkpoint", "rebuild the index"],
        Lie::Mark | Lie::Checksum => &["append, sync", "two appends, two syncs", "reorganise"],
    }
}

/// Goal: the crash table sees when a safeguard is missing. Method: its rows on disks that do not do what they say;
/// for each lie those that must fail are known by name.
#[test]
fn a_missing_safeguard_fails_its_rows_of_the_crash_table() {
    let fixture = Fixture::new();
    for (what, lie) in LIES {
        let view = |disk: &_| lying(disk, lie);
        for name in must_fail(lie) {
            let row = crash_points(&view, &fixture, &Case::of(name, &fixture, &view), FEW, Nested::Too);
            let error = row.err().unwrap_or_else(|| panic!("{what}: nothing of it is seen in `{name}`"));
            println!("{what:<26} {error}");
        }
    }
}
