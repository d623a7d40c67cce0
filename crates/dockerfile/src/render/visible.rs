//! Characters that a terminal would obey instead of showing, made visible.
//!
//! A Dockerfile is hostile input: an escape sequence in it could rewrite what its own diagnostic says (or retitle the
//! window, or worse), and a bidirectional control could show a line in another order than it is executed in.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What is shown instead of `ch`, if it must not be shown as it is; a tab and a line feed are left alone.
///
/// C0 controls and DEL get their Unicode pictures (`␛`); C1 controls, bidirectional controls, byte order marks and other
/// invisible characters are written as their code point (`<U+202E>`).
#[must_use]
pub fn replacement(ch: char) -> Option<Cow<'static, str>> {
    match ch {
        '\t' | '\n' => None,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(ch)).map(|picture| Cow::Owned(picture.to_string())),
        '\x7f' => Some(Cow::Borrowed("␡")),
        _ if is_invisible(ch) => Some(Cow::Owned(format!("<U+{:04X}>", u32::from(ch)))),
        _ => None,
    }
}

fn is_invisible(ch: char) -> bool {
    matches!(ch,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with every character that a terminal would obey replaced; line feeds stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|ch| replacement(ch).is_none()) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for ch in text.chars() {
        match replacement(ch) {
            Some(instead) => shown.push_str(&instead),
            None => shown.push(ch),
        }
    }
    Cow::Owned(shown)
}

/// As [`lines`], but for text that must stay on one line: a line feed becomes `␊`.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    match lines(text) {
        shown if shown.contains('\n') => Cow::Owned(shown.replace('\n', "␊")),
        shown => shown,
    }
}

/// Escapes, for JSON that is printed, what JSON lets through and a terminal would obey: the text between two quotes of a
/// JSON document, which stays the same document.
#[must_use]
pub fn json_fragment(fragment: &str) -> Cow<'_, str> {
    if fragment.is_ascii() && !fragment.contains('\x7f') {
        return Cow::Borrowed(fragment);
    }
    let mut escaped = String::with_capacity(fragment.len() + 16);
    let mut units = [0; 2];
    for ch in fragment.chars() {
        if replacement(ch).is_none() {
            escaped.push(ch);
            continue;
        }
        for unit in ch.encode_utf16(&mut units) {
            // Writing to a string never fails.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_shown_and_text_is_left_alone() {
        assert_eq!(lines("a\tb\nc é 漢"), "a\tb\nc é 漢");
        assert_eq!(lines("\x1b[31m\x07\x7f\r"), "␛[31m␇␡␍");
        assert_eq!(lines("\u{9b}2J\u{202e}x\u{feff}"), "<U+009B>2J<U+202E>x<U+FEFF>");
        assert_eq!(line("a\nb"), "a␊b");
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = "a\u{9b}\u{7f}\u{202e}\u{e0001}é";
        let fragment = json_fragment(value);
        assert_eq!(fragment, "a\\u009b\\u007f\\u202e\\udb40\\udc01é");
        let back: String = serde_json::from_str(&format!("\"{fragment}\"")).expect("valid JSON");
        assert_eq!(back, value);
    }
}
