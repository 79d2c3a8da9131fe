//! Amounts as people write them: decimal, exact, eight places.

use crate::blockchain::params::COIN;

/// Places after the point.
const PLACES: usize = 8;

/// A text that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an amount: {why}")]
pub struct AmountError {
    text: String,
    why: &'static str,
}

/// Units from a text such as `12.5`; nothing is rounded.
pub fn parse(text: &str) -> Result<u64, AmountError> {
    let wrong = |why| AmountError { text: text.chars().take(40).collect(), why };
    let (whole, places) = text.split_once('.').map_or((text, None), |(whole, places)| (whole, Some(places)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || places.is_some_and(|places| !digits(places)) {
        return Err(wrong("digits are needed, with a point and more digits if there is a fraction, as in 12.5"));
    }
    let places = places.unwrap_or("0");
    if places.len() > PLACES {
        return Err(wrong("it has more than 8 places; the smallest unit is 0.00000001"));
    }
    let too_large = || wrong("it is more than there can ever be");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let fraction: u64 = format!("{places:0<PLACES$}").parse().expect("eight digits");
    whole.checked_mul(COIN).and_then(|units| units.checked_add(fraction)).ok_or_else(too_large)
}

/// Units as a text, always with eight places, so that columns line up and no text is ambiguous.
pub fn show(units: u64) -> String {
    format!("{}.{:0PLACES$}", units / COIN, units % COIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an amount and its text are the same thing, to the last unit. Method: edges both ways.
    #[test]
    fn amounts_are_exact() {
        for units in [0, 1, 10, COIN - 1, COIN, COIN + 1, 123_456_789_012, u64::MAX] {
            assert_eq!(parse(&show(units)), Ok(units));
        }
        assert_eq!((parse("12.5"), parse("0.00000001"), parse("007")), (Ok(1_250_000_000), Ok(1), Ok(7 * COIN)));
        assert_eq!(show(1_250_000_000), "12.50000000");
    }

    /// Goal: what cannot be said exactly, or is a slip, is refused. Method: one of each kind.
    #[test]
    fn slips_are_refused() {
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1,5", "1e3", " 1", "0.000000001", "1.2.3", "٣", "184467440738"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("0.123456789").expect_err("nine").to_string().contains("8 places"));
    }
}
