//! A rough reading of shell text: simple commands and their words, good enough to see who is called with what.
//!
//! One pass, no nesting: `;`, `&`, `|`, parentheses and line ends separate commands, quotes hold words together, a `#` at the start
//! of a word begins a comment. What runs inside quotes or `$(...)` in quotes is not looked at.

use std::ops::Range;

/// A word: where it stands in the text, quotes included.
pub(super) type Word = Range<usize>;

/// Shows `command` the words of each simple command of `text`, at least one at a time.
pub(super) fn each_command(text: &str, mut command: impl FnMut(&[Word])) {
    let bytes = text.as_bytes();
    let mut words: Vec<Word> = Vec::with_capacity(WORDS_AT_FIRST);
    let mut close = |words: &mut Vec<Word>| {
        if !words.is_empty() {
            command(words);
            words.clear();
        }
    };
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' => at += 1,
            b'\\' if bytes.get(at + 1) == Some(&b'\n') => at += 2,
            b'\n' | b';' | b'&' | b'|' | b'(' | b')' => {
                close(&mut words);
                at += 1;
            }
            b'#' => at += bytes[at..].iter().take_while(|byte| **byte != b'\n').count(),
            _ => {
                let end = word_end(bytes, at);
                words.push(at..end);
                at = end;
            }
        }
    }
    close(&mut words);
}

/// Room for the words of most commands.
const WORDS_AT_FIRST: usize = 32;

fn word_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' => break,
            b'\\' => at += 2,
            b'\'' => at = memchr::memchr(byte, &bytes[at + 1..]).map_or(bytes.len(), |len| at + len + 2),
            b'"' => at = double_quotes_end(bytes, at + 1),
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

/// Behind the quotation mark that ends what begins at `at`.
fn double_quotes_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Vec<&str>> {
        let mut found = Vec::new();
        each_command(text, |words| found.push(words.iter().map(|word| &text[word.clone()]).collect()));
        found
    }

    #[test]
    fn commands_and_words() {
        assert_eq!(
            split("a b&&c 'd e';\n# x\nf\\ g|h"),
            [vec!["a", "b"], vec!["c", "'d e'"], vec!["f\\ g"], vec!["h"]]
        );
        assert_eq!(split("a \\\n b \"c\\\" d\""), [["a", "b", "\"c\\\" d\""]]);
        assert_eq!(split("'open é"), [["'open é"]]);
        assert_eq!(split("a\\"), [["a\\"]]);
        assert!(split(" ; # only").is_empty());
    }
}
