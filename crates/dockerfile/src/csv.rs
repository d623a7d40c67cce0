//! One line of comma-separated values, as the values of `RUN --mount` and `--device` are written (RFC 4180 quoting).

/// Why a line is not CSV. `Display` is the wording of Go's `encoding/csv`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// Nothing at all.
    #[error("EOF")]
    Empty,
    /// A `"` inside a value that does not begin with one. The column counts bytes from 1.
    #[error("parse error on line 1, column {0}: bare \" in non-quoted-field")]
    BareQuote(usize),
    /// A quoted value that does not end, or goes on after its end.
    #[error("parse error on line 1, column {0}: extraneous or missing \" in quoted-field")]
    Quote(usize),
}

/// Splits `line` at its commas; one newline at the end is allowed.
///
/// # Errors
/// [`CsvError`] for an empty line and for stray quotes.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, CsvError> {
    let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut fields = Vec::new();
    let mut rest = Some(line);
    while let Some(field) = rest {
        let start = line.len() - field.len();
        rest = match field.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, start + 1, &mut fields)?,
            None => plain_field(field, start, &mut fields)?,
        };
    }
    Ok(fields)
}

/// Returns what follows the comma, if there is one.
fn plain_field<'t>(text: &'t str, start: usize, fields: &mut Vec<String>) -> Result<Option<&'t str>, CsvError> {
    let (field, rest) = match text.split_once(',') {
        Some((field, rest)) => (field, Some(rest)),
        None => (text, None),
    };
    if let Some(quote) = field.find('"') {
        return Err(CsvError::BareQuote(start + quote + 1));
    }
    fields.push(field.to_owned());
    Ok(rest)
}

fn quoted_field<'t>(text: &'t str, start: usize, fields: &mut Vec<String>) -> Result<Option<&'t str>, CsvError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let at = start + text.len() - rest.len();
        let Some((before, after)) = rest.split_once('"') else { return Err(CsvError::Quote(at + 1)) };
        field.push_str(before);
        if let Some(doubled) = after.strip_prefix('"') {
            field.push('"');
            rest = doubled;
            continue;
        }
        fields.push(field);
        return match after.strip_prefix(',') {
            None if !after.is_empty() => Err(CsvError::Quote(at + before.len() + 1)),
            rest => Ok(rest),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, values) in [
            ("a,b", vec!["a", "b"]),
            ("a,", vec!["a", ""]),
            ("\"a,b\",c", vec!["a,b", "c"]),
            ("\"a\"\"b\"", vec!["a\"b"]),
            ("a\r\n", vec!["a"]),
        ] {
            assert_eq!(fields(line).unwrap(), values, "{line:?}");
        }
        assert_eq!(fields(""), Err(CsvError::Empty));
        assert_eq!(fields("a,b\"c"), Err(CsvError::BareQuote(4)));
        assert_eq!(fields("\"a\"b"), Err(CsvError::Quote(3)));
        assert_eq!(fields("\"a"), Err(CsvError::Quote(2)));
    }
}
