//! Reading one word of an instruction: a cursor over its characters, and the names that may follow a `$`.

/// A cursor over the characters of one word.
///
/// Like the reference's scanner it swallows one byte order mark at the start.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'w> {
    rest: &'w str,
}

impl<'w> Cursor<'w> {
    pub(crate) fn new(word: &'w str) -> Self {
        Cursor { rest: word.strip_prefix('\u{FEFF}').unwrap_or(word) }
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// Bytes that are left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes characters while they satisfy `wanted`.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'w str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Takes a variable name: letters, digits and `_`; or only digits; or one special parameter; or nothing.
    pub(crate) fn name(&mut self) -> &'w str {
        match self.peek() {
            Some(c) if is_digit(c) => self.take_while(is_digit),
            Some(c) if is_special_parameter(c) => {
                let (name, rest) = self.rest.split_at(c.len_utf8());
                self.rest = rest;
                name
            }
            _ => self.take_while(|c| c == '_' || is_letter(c) || is_digit(c)),
        }
    }
}

/// The special parameters of POSIX 2.5.2; `0` is taken as a digit before it comes here.
fn is_special_parameter(c: char) -> bool {
    matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!' | '0')
}

/// A letter as Unicode has it (categories L*). `char::is_alphabetic` also has letter-like numbers and marks, which
/// the reference does not take into names; they are told apart here by hand for the ones in common scripts.
fn is_letter(c: char) -> bool {
    c.is_alphabetic() && !c.is_numeric() && !is_alphabetic_mark(c)
}

/// Marks and symbols that are "alphabetic" but not letters: combining vowel signs and circled letters.
fn is_alphabetic_mark(c: char) -> bool {
    matches!(c,
        '\u{0345}' | '\u{0363}'..='\u{036F}' | '\u{05B0}'..='\u{05C7}' | '\u{0610}'..='\u{061A}'
        | '\u{064B}'..='\u{065F}' | '\u{0670}' | '\u{24B6}'..='\u{24E9}' | '\u{1F130}'..='\u{1F189}')
}

/// A decimal digit (category Nd). ASCII ones are all that real files use; the fullwidth and Arabic ones are the rest
/// that the reference would take and a keyboard can produce.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
        || matches!(c,
            '\u{0660}'..='\u{0669}' | '\u{06F0}'..='\u{06F9}' | '\u{0966}'..='\u{096F}' | '\u{FF10}'..='\u{FF19}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_the_reference_ends_them() {
        for (text, name) in [
            ("abc.d", "abc"),
            ("a1_b-", "a1_b"),
            ("1x", "1"),
            ("12", "12"),
            ("@x", "@"),
            ("-x", "-"),
            (".x", ""),
            ("", ""),
            ("é1", "é1"),
            ("_x", "_x"),
        ] {
            assert_eq!(Cursor::new(text).name(), name, "{text:?}");
        }
    }

    #[test]
    fn one_byte_order_mark_is_swallowed() {
        assert_eq!(Cursor::new("\u{FEFF}\u{FEFF}a").peek(), Some('\u{FEFF}'));
    }
}
