//! The value of `--chmod`: octal, or symbols as chmod(1) takes them.

use super::error::ConvertError;

/// Checks a mode.
///
/// # Errors
/// [`ConvertError::Chmod`] for a number that is none, [`ConvertError::ChmodSyntax`] for symbols that are none.
pub(super) fn check(mode: &str) -> Result<(), ConvertError> {
    let bad_number = || Err(ConvertError::Chmod(mode.to_owned()));
    match crate::goformat::parse_u32(mode, 8) {
        Some(bits) if bits <= 0o7777 => Ok(()),
        Some(_) => bad_number(),
        None if mode.starts_with(|c: char| c.is_ascii_digit()) => bad_number(),
        None if mode.split(',').all(is_clause) => Ok(()),
        None => Err(ConvertError::ChmodSyntax),
    }
}

/// Who, then one or more of an operator and permissions: `u=rwX`, `go-w+x`, `+s`.
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['a', 'u', 'g', 'o']);
    let is_permission = |c: char| matches!(c, 'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o');
    actions.starts_with(['+', '-', '=']) && actions.chars().all(|c| matches!(c, '+' | '-' | '=') || is_permission(c))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn modes() {
        for good in ["0", "0755", "7777", "u=rwX,go=rX", "+x", "a-w+x", "u+s,o=g", "g="] {
            assert!(check(good).is_ok(), "{good}");
        }
        assert_eq!(check("10000").unwrap_err().to_string().split(':').next(), Some("invalid chmod parameter"));
        assert_eq!(check("089").unwrap_err().to_string().split(':').next(), Some("invalid chmod parameter"));
        for bad in ["rwx", "u", "", "u=rwq", "u=r,"] {
            assert_eq!(check(bad).map_err(|e| e.to_string()), Err("invalid syntax".to_owned()), "{bad}");
        }
    }
}
