//! Durations as Go writes and reads them: `1h30m`, `1.5s`, `250ms`.

/// Nanoseconds.
pub type Nanoseconds = i64;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{B5}s", 1_000),
    ("\u{3BC}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Why a text is not a duration. `Display` is the wording of Go's `time.ParseDuration`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not a number with a unit, or too large.
    #[error("time: invalid duration {0}")]
    Invalid(String),
    /// A number without its unit, as in `30`.
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    /// A unit that does not exist.
    #[error("time: unknown unit {unit} in duration {text}")]
    UnknownUnit {
        /// The unit, quoted.
        unit: String,
        /// The whole text, quoted.
        text: String,
    },
}

/// Reads a duration: an optional sign, then numbers with units; or `0`.
///
/// # Errors
/// [`DurationError`] for anything else, and for one over 292 years.
pub fn parse_duration(text: &str) -> Result<Nanoseconds, DurationError> {
    let invalid = || DurationError::Invalid(quote(text));
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (part, after) = parse_part(text, rest)?;
        total = total.checked_add(part).filter(|total| *total <= 1 << 63).ok_or_else(invalid)?;
        rest = after;
    }
    match (negative, i64::try_from(total)) {
        (true, Ok(total)) => Ok(-total),
        (true, Err(_)) => Ok(i64::MIN),
        (false, Ok(total)) => Ok(total),
        (false, Err(_)) => Err(invalid()),
    }
}

/// One number with its unit, and what follows it.
fn parse_part<'t>(text: &str, part: &'t str) -> Result<(u64, &'t str), DurationError> {
    let invalid = || DurationError::Invalid(quote(text));
    let (whole, rest) = split_digits(part);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let whole_value = match whole {
        "" => 0,
        whole => whole.parse::<u64>().ok().filter(|value| *value <= 1 << 63).ok_or_else(invalid)?,
    };
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    if unit.is_empty() {
        return Err(DurationError::MissingUnit(quote(text)));
    }
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let scale = scale.ok_or_else(|| DurationError::UnknownUnit { unit: quote(unit), text: quote(text) })?;
    let nanoseconds = whole_value.checked_mul(scale).and_then(|whole| whole.checked_add(fraction_of(fraction, scale)));
    Ok((nanoseconds.filter(|value| *value <= 1 << 63).ok_or_else(invalid)?, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `0.fraction` of `scale`, rounded down. Digits past the eighteenth cannot matter: no unit has that many nanoseconds.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let digits = digits.get(..18).unwrap_or(digits);
    let parts = digits.bytes().fold(0_u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let divisor = digits.bytes().fold(1_u128, |power, _| power * 10);
    u64::try_from(parts * u128::from(scale) / divisor).unwrap_or(u64::MAX)
}

/// Go's `time` package quotes by itself: non-ASCII bytes and control characters as `\x..`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// `time.Duration.String`: `1h30m0s`, `1.5s`, `250ms`, `0s`.
#[must_use]
pub fn format_duration(duration: Nanoseconds) -> String {
    let sign = if duration < 0 { "-" } else { "" };
    let nanoseconds = duration.unsigned_abs();
    let text = match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}\u{B5}s", decimal(nanoseconds, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanoseconds, 6)),
        _ => {
            let (minutes, rest) = (nanoseconds / 60_000_000_000, nanoseconds % 60_000_000_000);
            let seconds = decimal(rest, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `value / 10^places`, without trailing zeros.
fn decimal(value: u64, places: usize) -> String {
    let power = 10_u64.pow(u32::try_from(places).unwrap_or(0));
    let fraction = format!("{:0places$}", value % power);
    match fraction.trim_end_matches('0') {
        "" => (value / power).to_string(),
        fraction => format!("{}.{fraction}", value / power),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, nanoseconds, printed) in [
            ("0", 0, "0s"),
            ("30s", 30_000_000_000, "30s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("5m", 300_000_000_000, "5m0s"),
            ("-250ms", -250_000_000, "-250ms"),
            (".5us", 500, "500ns"),
            ("1.5\u{B5}s", 1_500, "1.5\u{B5}s"),
            ("1.s", 1_000_000_000, "1s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(parse_duration(text), Ok(nanoseconds), "{text}");
            assert_eq!(format_duration(nanoseconds), printed);
        }
    }

    #[test]
    fn faults_in_the_words_of_go() {
        for (text, message) in [
            ("", "time: invalid duration \"\""),
            ("30", "time: missing unit in duration \"30\""),
            ("30x", "time: unknown unit \"x\" in duration \"30x\""),
            ("x", "time: invalid duration \"x\""),
            (".s", "time: invalid duration \".s\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("3000000h", "time: invalid duration \"3000000h\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message);
        }
    }
}
