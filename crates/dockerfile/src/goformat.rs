//! Go's ways of printing strings and lists, which BuildKit's messages and image histories are made of.

use std::fmt::Write;

/// `%q`: double quotes, with what cannot be printed escaped as Go does it.
#[must_use]
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        push_escaped(out, c);
    }
    out.push('"');
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{07}' => out.push_str("\\a"),
        '\u{08}' => out.push_str("\\b"),
        '\u{0C}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{0B}' => out.push_str("\\v"),
        c if is_printable(c) => out.push(c),
        c if c < ' ' || c == '\u{7F}' => push_hex(out, 'x', 2, c),
        c if u32::from(c) < 0x10000 => push_hex(out, 'u', 4, c),
        c => push_hex(out, 'U', 8, c),
    }
}

fn push_hex(out: &mut String, kind: char, width: usize, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\{kind}{:0width$x}", u32::from(c));
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // `escape_debug` leaves exactly the printable characters alone, save for a combining mark in first place.
    let mut text = String::from("a");
    text.push(c);
    !text.escape_debug().skip(1).any(|escaped| escaped == '\\')
}

/// `%v` of a list of strings: `[a b]`.
#[must_use]
pub(crate) fn list<S: AsRef<str>>(items: &[S]) -> String {
    bracketed(items, |out, item| out.push_str(item))
}

/// `%q` of a list of strings: `["a" "b"]`.
#[must_use]
pub(crate) fn quoted_list<S: AsRef<str>>(items: &[S]) -> String {
    bracketed(items, push_quoted)
}

fn bracketed<S: AsRef<str>>(items: &[S], print: impl Fn(&mut String, &str)) -> String {
    let room: usize = items.iter().map(|item| item.as_ref().len() + 3).sum();
    let mut out = String::with_capacity(room + 2);
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        print(&mut out, item.as_ref());
    }
    out.push(']');
    out
}

/// `strconv.ParseBool`.
#[must_use]
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.ParseUint(text, radix, 32)`: digits only, no sign.
#[must_use]
pub(crate) fn parse_u32(text: &str, radix: u32) -> Option<u32> {
    match text.is_empty() || !text.chars().all(|c| c.is_digit(radix)) {
        true => None,
        false => u32::from_str_radix(text, radix).ok(),
    }
}

/// `strings.ToLower`: one code point for one, so the Kelvin sign becomes `k` and a dotted capital I becomes `i`.
#[must_use]
pub(crate) fn to_lower(text: &str) -> String {
    text.chars().map(lower).collect()
}

fn lower(c: char) -> char {
    match c {
        '\u{130}' => 'i',
        c if c.is_ascii() => c.to_ascii_lowercase(),
        c => c.to_lowercase().next().unwrap_or(c),
    }
}

/// `strings.ToUpper`: one code point for one; what has no single capital, such as a sharp s, stays.
#[must_use]
pub(crate) fn to_upper(text: &str) -> String {
    text.chars().map(upper).collect()
}

fn upper(c: char) -> char {
    let mut capitals = c.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        _ => c,
    }
}

/// `path.Clean`: the shortest equivalent path by the letters alone.
#[must_use]
pub(crate) fn clean_path(path: &str) -> String {
    if is_clean(path) {
        return path.to_owned();
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut cleaned = String::with_capacity(path.len() + 1);
    cleaned.push_str(root);
    for part in path.split('/') {
        let last = cleaned[root.len()..].rsplit('/').next().unwrap_or_default();
        match part {
            "" | "." => {}
            ".." if !matches!(last, "" | "..") => {
                let parent = cleaned.len() - last.len();
                cleaned.truncate(parent.saturating_sub(1).max(root.len()));
            }
            ".." if !root.is_empty() => {}
            part => {
                if cleaned.len() > root.len() {
                    cleaned.push('/');
                }
                cleaned.push_str(part);
            }
        }
    }
    if cleaned.is_empty() { ".".to_owned() } else { cleaned }
}

/// Whether a rooted path has neither empty nor dotted parts; a few that are clean are not seen to be.
fn is_clean(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut after_slash = false;
    let odd = |byte: &u8| {
        let odd = after_slash && matches!(byte, b'/' | b'.');
        after_slash = *byte == b'/';
        odd
    };
    bytes.first() == Some(&b'/') && (bytes.len() == 1 || bytes.last() != Some(&b'/')) && !bytes.iter().any(odd)
}

/// `path.Join`: the parts that are not empty, joined and cleaned; nothing if all are empty.
#[must_use]
pub(crate) fn join_path(parts: &[&str]) -> String {
    let mut joined = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for part in parts.iter().filter(|part| !part.is_empty()) {
        // A second slash would be cleaned away again.
        if !joined.is_empty() && !joined.ends_with('/') {
            joined.push('/');
        }
        joined.push_str(part);
    }
    match joined.is_empty() || is_clean(&joined) {
        true => joined,
        false => clean_path(&joined),
    }
}

/// `path.Base`: the last part.
#[must_use]
pub(crate) fn base_name(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    match trimmed.is_empty() {
        true => "/",
        false => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_escapes_what_go_escapes() {
        for (text, quoted) in [
            ("a b", r#""a b""#),
            ("a\"\\\n", r#""a\"\\\n""#),
            ("\u{1}\u{7F}", r#""\x01\x7f""#),
            ("é\u{A0}\u{301}", "\"é\\u00a0\u{301}\""),
            ("\u{200B}\u{E0001}", r#""\u200b\U000e0001""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn paths_are_cleaned_by_their_letters() {
        for (path, clean) in [
            ("", "."),
            ("/", "/"),
            ("/a/./b//c/", "/a/b/c"),
            ("/..", "/"),
            ("../a/..", ".."),
            ("a/../..", ".."),
            ("./a", "a"),
        ] {
            assert_eq!(clean_path(path), clean, "{path:?}");
        }
        assert_eq!(join_path(&["/", "", "a"]), "/a");
        assert_eq!(base_name("/a/b/"), "b");
        assert_eq!(base_name("//"), "/");
    }

    #[test]
    fn case_maps_one_code_point_to_one() {
        assert_eq!(to_lower("WOR\u{212A}DIR \u{130}"), "workdir i");
        assert_eq!(to_upper("stra\u{DF}e"), "STRA\u{DF}E");
    }
}
