//! The page at `/`: one file, which asks this server and nobody else.
//!
//! What a browser may do with it is said in its headers: run this one script and use this one style, both known by
//! their hashes; ask this server; and nothing else, no frame around it included. Trusted types keep the script from
//! ever making markup out of a text, so what a peer calls itself stays a text.

use crate::rpc::http::{Response, Status};

const PAGE: &str = include_str!("page.html");

/// The hashes are of what stands between the tags, held to it by a test, which says what they should be.
const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-aTsKRCiJiYAKFyDBq9Cy43MBIakWjUBYhMzn2/J99Qc='; \
    style-src 'sha256-l/1LVcg/XAGhRmd+GD+Fxz8rpXaKCPhrCSWT167Y8vs='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// The answer to `/`.
pub(super) fn answer() -> Response {
    Response::new(Status::Ok, "text/html; charset=utf-8", PAGE.as_bytes())
        .with("Content-Security-Policy", POLICY)
        .with("Referrer-Policy", "no-referrer")
        .with("Cross-Origin-Opener-Policy", "same-origin")
        .with("X-Frame-Options", "DENY")
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// What the issue allows the page to weigh.
    const PAGE_BYTES_MAX: usize = 100_000;

    fn between<'a>(from: &str, to: &str) -> &'a str {
        let (_, rest) = PAGE.split_once(from).expect("it begins");
        let (inside, after) = rest.split_once(to).expect("it ends");
        assert!(!after.contains(from), "there is one");
        inside
    }

    /// In base64, which nothing else here needs.
    fn hash_of(text: &str) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let hash = Sha256::digest(text.as_bytes());
        let triples = hash.chunks(3).map(|bytes| {
            let number =
                [0, 1, 2].map(|n| u32::from(*bytes.get(n).unwrap_or(&0))).into_iter().fold(0, |n, b| n << 8 | b);
            let letter = |place: usize| char::from(LETTERS[(number >> (18 - 6 * place)) as usize & 63]);
            (0..4).map(|place| if place > bytes.len() { '=' } else { letter(place) }).collect::<String>()
        });
        format!("'sha256-{}'", triples.collect::<String>())
    }

    /// Goal: the browser runs this script and this style, and no other. Method: their hashes, as browsers make them.
    #[test]
    fn the_policy_names_what_the_page_has() {
        for (from, to, what) in [("<script>", "</script>", "script-src"), ("<style>", "</style>", "style-src")] {
            let wanted = format!("{what} {}", hash_of(between(from, to)));
            assert!(POLICY.contains(&wanted), "POLICY in src/rpc/page.rs has to say: {wanted}");
        }
        assert!(!PAGE.contains(" style=") && !PAGE.contains(" onclick="), "nothing that a hash does not cover");
    }

    /// Goal: the page fetches nothing and weighs little. Method: its text.
    #[test]
    fn the_page_is_one_light_file() {
        assert!(PAGE.len() <= PAGE_BYTES_MAX, "{} bytes", PAGE.len());
        let outside = PAGE
            .match_indices("://")
            .filter(|(at, _)| !PAGE[..*at].ends_with("http") || { !PAGE[*at..].starts_with("://www.w3.org/2000/svg") });
        assert_eq!(outside.count(), 0, "the one address in it is the name of SVG");
        assert!(!PAGE.contains("innerHTML") && !PAGE.contains("insertAdjacentHTML"), "texts stay texts");
    }
}
