//! JSON as Go's `encoding/json` reads it: arrays of strings for the exec form, and the `syntax` member of an object.
//!
//! No recursion: nesting is a stack of bytes, at most 10,000 deep, as in Go.

use std::borrow::Cow;

/// The deepest nesting Go's decoder follows.
const MAX_DEPTH: usize = 10_000;

/// A string of an array: its value, and where it stands between its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element<'t> {
    pub(crate) value: Cow<'t, str>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Why a text is not an array of strings. Offsets are bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Does not begin with `[`.
    NotAnArray,
    /// Valid JSON up to here.
    Invalid(usize),
    /// A valid array, but this element is no string.
    NotStrings(usize),
}

/// Reads `text`, blanks around it allowed, as an array of strings.
pub(crate) fn array_of_strings(text: &str) -> Result<Vec<Element<'_>>, Fault> {
    // BuildKit trims Unicode blanks before it looks for the bracket, and JSON's own blanks are among them.
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with('[') {
        return Err(Fault::NotAnArray);
    }
    let mut reader = Reader { text, at: start + 1 };
    let mut elements = Vec::new();
    reader.blanks();
    if reader.take(b']') {
        return reader.end().map(|()| elements);
    }
    loop {
        reader.blanks();
        if reader.peek() != Some(b'"') {
            return Err(reader.not_strings(start));
        }
        elements.push(reader.string()?);
        reader.blanks();
        if reader.take(b']') {
            return reader.end().map(|()| elements);
        }
        reader.expect(b',')?;
    }
}

/// The string member `key` of the JSON object `text`, if it is written without escapes; the last one counts, as in Go.
pub(crate) fn object_string<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut reader = Reader { text, at: 0 };
    reader.blanks();
    if reader.peek() != Some(b'{') {
        return None;
    }
    let mut scan = Scan::default();
    scan.value(&mut reader).ok()?;
    reader.end().ok()?;
    members(text, key)
}

/// The last string value of `key` in a text known to be a valid object.
fn members<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut reader = Reader { text, at: 0 };
    reader.blanks();
    reader.at += 1;
    let mut found = None;
    loop {
        reader.blanks();
        if reader.peek() != Some(b'"') {
            return found;
        }
        let name = reader.string().ok()?;
        reader.blanks();
        reader.at += 1;
        reader.blanks();
        let start = reader.at;
        Scan::default().value(&mut reader).ok()?;
        if name.value == key {
            found = text.get(start + 1..reader.at - 1).filter(|_| text.as_bytes()[start] == b'"');
        }
        reader.blanks();
        if !reader.take(b',') {
            return found;
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(Fault::Invalid(self.at)) }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Nothing but blanks may follow.
    fn end(&mut self) -> Result<(), Fault> {
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(Fault::Invalid(self.at)) }
    }

    /// A string; the cursor stands on its first quote.
    fn string(&mut self) -> Result<Element<'t>, Fault> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut copied = start;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let value = owned.get_or_insert_default();
                    value.push_str(&self.text[copied..self.at]);
                    value.push(self.escape()?);
                    copied = self.at;
                }
                Some(0x20..) => self.at += 1,
                Some(_) | None => return Err(Fault::Invalid(self.at)),
            }
        }
        let rest = &self.text[copied..self.at];
        let value = match owned {
            None => Cow::Borrowed(rest),
            Some(value) => Cow::Owned(value + rest),
        };
        self.at += 1;
        Ok(Element { value, start, end: self.at - 1 })
    }

    /// An escape; the cursor stands on the backslash. A surrogate without its partner becomes U+FFFD.
    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let byte = self.peek().ok_or(Fault::Invalid(self.at))?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0C',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(Fault::Invalid(self.at)),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let first = self.hex4(self.at + 1).map_err(Fault::Invalid)?;
        self.at += 5;
        if !(0xD800..0xE000).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let follows = self.text.as_bytes()[self.at..].starts_with(b"\\u");
        let second = if follows { self.hex4(self.at + 2).ok() } else { None };
        match second {
            Some(second) if first < 0xDC00 && (0xDC00..0xE000).contains(&second) => {
                self.at += 6;
                let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => Ok(char::REPLACEMENT_CHARACTER),
        }
    }

    /// Four hexadecimal digits at `at`, or the offset of the first byte that is none.
    fn hex4(&self, at: usize) -> Result<u32, usize> {
        let mut value = 0;
        for index in at..at + 4 {
            let digit = self.text.as_bytes().get(index).and_then(|&byte| char::from(byte).to_digit(16));
            value = value * 16 + digit.ok_or(index)?;
        }
        Ok(value)
    }

    /// The cursor stands on an element that is no string: is the whole text valid JSON all the same?
    fn not_strings(&mut self, array_start: usize) -> Fault {
        let element = self.at;
        self.at = array_start;
        let mut scan = Scan::default();
        match scan.value(self).and_then(|()| self.end()) {
            // Go reports a number that overflows after the syntax is known to be right, and that counts as invalid too.
            Ok(()) => scan.overflow.map_or(Fault::NotStrings(element), Fault::Invalid),
            Err(fault) => fault,
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(Fault::Invalid(self.at));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    /// A number; says whether it fits a 64-bit float.
    fn number(&mut self) -> Result<bool, Fault> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(self.text[start..self.at].parse::<f64>().is_ok_and(f64::is_finite))
    }
}

/// A walk over a value of any kind.
#[derive(Default)]
struct Scan {
    /// The open brackets: `true` for an object.
    open: Vec<bool>,
    /// Offset of a number that fits no float.
    overflow: Option<usize>,
}

impl Scan {
    /// Reads one value of any depth.
    fn value(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        loop {
            reader.blanks();
            let opened = self.begin(reader)?;
            if !opened && self.finish(reader)? {
                return Ok(());
            }
        }
    }

    /// Reads a scalar, or opens an array or object up to its first value; says whether a value has to follow.
    fn begin(&mut self, reader: &mut Reader<'_>) -> Result<bool, Fault> {
        match reader.peek() {
            Some(b'[') => self.open(reader, false, b']'),
            Some(b'{') => self.open(reader, true, b'}'),
            Some(b'"') => reader.string().map(|_| false),
            Some(b't') => reader.literal("true").map(|()| false),
            Some(b'f') => reader.literal("false").map(|()| false),
            Some(b'n') => reader.literal("null").map(|()| false),
            Some(b'-' | b'0'..=b'9') => {
                let at = reader.at;
                if !reader.number()? {
                    self.overflow.get_or_insert(at);
                }
                Ok(false)
            }
            _ => Err(Fault::Invalid(reader.at)),
        }
    }

    fn open(&mut self, reader: &mut Reader<'_>, object: bool, close: u8) -> Result<bool, Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::Invalid(reader.at));
        }
        reader.at += 1;
        reader.blanks();
        if reader.take(close) {
            return Ok(false);
        }
        self.open.push(object);
        if object {
            Self::key(reader)?;
        }
        Ok(true)
    }

    fn key(reader: &mut Reader<'_>) -> Result<(), Fault> {
        reader.blanks();
        if reader.peek() != Some(b'"') {
            return Err(Fault::Invalid(reader.at));
        }
        reader.string()?;
        reader.blanks();
        reader.expect(b':')
    }

    /// After a value: closes what ends here; says whether the outermost value is complete.
    fn finish(&mut self, reader: &mut Reader<'_>) -> Result<bool, Fault> {
        while let Some(&object) = self.open.last() {
            reader.blanks();
            if reader.take(b',') {
                if object {
                    Self::key(reader)?;
                }
                return Ok(false);
            }
            reader.expect(if object { b'}' } else { b']' })?;
            self.open.pop();
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Result<Vec<String>, Fault> {
        array_of_strings(text).map(|all| all.into_iter().map(|one| one.value.into_owned()).collect())
    }

    #[test]
    fn arrays_of_strings_are_read_like_go_reads_them() {
        assert_eq!(values("[]"), Ok(vec![]));
        assert_eq!(values(" [ \"a\" , \"b\\n\\u00e9\" ] "), Ok(vec!["a".into(), "b\n\u{e9}".into()]));
        assert_eq!(values(r#"["\ud83d\ude00","\ud83dx","\ude00","\ud83d\u0041"]"#), {
            Ok(vec!["\u{1F600}".into(), "\u{FFFD}x".into(), "\u{FFFD}".into(), "\u{FFFD}A".into()])
        });
    }

    #[test]
    fn invalid_json_is_told_from_other_elements() {
        for (text, want) in [
            ("a", Fault::NotAnArray),
            ("['a']", Fault::Invalid(1)),
            ("[\"a\",]", Fault::Invalid(5)),
            ("[\"a\" \"b\"]", Fault::Invalid(5)),
            ("[\"a\"] x", Fault::Invalid(6)),
            ("[\"a", Fault::Invalid(3)),
            ("[\"\\x\"]", Fault::Invalid(3)),
            ("[\"a\", 1]", Fault::NotStrings(6)),
            ("[\"a\", 01]", Fault::Invalid(7)),
            ("[1e999]", Fault::Invalid(1)),
            ("[{\"a\":[1e999]}]", Fault::Invalid(7)),
            ("[null, {}, [[], {\"k\": [true, -1.5e+3]}]]", Fault::NotStrings(1)),
            ("[{\"a\" 1}]", Fault::Invalid(6)),
        ] {
            assert_eq!(values(text), Err(want), "{text}");
        }
    }

    #[test]
    fn depth_ends_where_go_ends() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(values(&nested(10_000)), Err(Fault::NotStrings(1)));
        assert_eq!(values(&nested(10_001)), Err(Fault::Invalid(10_000)));
    }
}
