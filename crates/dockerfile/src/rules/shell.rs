//! A rough reading of shell text: simple commands and their words, good enough to see who is called with what.
//!
//! One pass, no nesting: `;`, `&`, `|`, parentheses and line ends separate commands, quotes hold words together, a `#` at the start
//! of a word begins a comment. What runs inside quotes or `$(...)` in quotes is not looked at.

use std::ops::Range;

/// A word: where it stands in the text, quotes included.
pub(super) type Word = Range<usize>;

/// The simple commands of `text`, each with at least one word.
pub(super) fn commands(text: &str) -> Vec<Vec<Word>> {
    let bytes = text.as_bytes();
    let mut commands = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' => at += 1,
            b'\\' if bytes.get(at + 1) == Some(&b'\n') => at += 2,
            b'\n' | b';' | b'&' | b'|' | b'(' | b')' => {
                close(&mut commands, &mut words);
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
    close(&mut commands, &mut words);
    commands
}

fn close(commands: &mut Vec<Vec<Word>>, words: &mut Vec<Word>) {
    if !words.is_empty() {
        commands.push(std::mem::take(words));
    }
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    let mut quote = None;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(b'\''), _) => {}
            (_, b'\\') => at += 1,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')') => break,
            (None, _) => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Vec<&str>> {
        commands(text).into_iter().map(|words| words.into_iter().map(|word| &text[word]).collect()).collect()
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
