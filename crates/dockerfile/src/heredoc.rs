//! Here-documents: finding `<<NAME` on an instruction's line.
//!
//! The whole line, flags and all, goes through the shell lexer; each word that reads `[digits]<<[-]NAME` starts a
//! heredoc. When the lexer fails there are silently none. See BuildKit's `heredocsFromLine` and `heredocFromMatch`.

use crate::env::NoVariables;
use crate::expand::{ExpandError, Lexer};
use crate::limits::{Budget, Limits};

/// The word that starts a heredoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeredocWord {
    /// The terminator.
    pub(crate) name: String,
    pub(crate) expand: bool,
    pub(crate) chomp: bool,
    pub(crate) fd: u64,
    /// The word with its quotes, as it stands on the line.
    pub(crate) word: String,
}

/// The words of `line` as the reference's lexer splits them for this purpose, or why it cannot.
pub(crate) fn lex_line(line: &str) -> Result<Vec<String>, ExpandError> {
    let lexer = Lexer { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Lexer::new('\\') };
    lex(lexer, line)
}

/// The heredocs among the words of a line.
///
/// # Errors
/// A name that cannot be lexed again on its own.
pub(crate) fn find(words: Vec<String>) -> Result<Vec<HeredocWord>, ExpandError> {
    words.into_iter().filter_map(|word| parse_word(&word).transpose()).collect()
}

/// Reads one word; `None` when it starts no heredoc.
pub(crate) fn parse_word(word: &str) -> Result<Option<HeredocWord>, ExpandError> {
    let digits = word.len() - word.trim_start_matches(|ch: char| ch.is_ascii_digit()).len();
    let Some(rest) = word[digits..].strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches([' ', '\t', '\n', '\x0C', '\r']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    if rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        // Nothing in it is special to the lexer.
        let (name, fd) = (rest.to_owned(), fd(&word[..digits]));
        return Ok(Some(HeredocWord { name, expand: true, chomp, fd, word: word.to_owned() }));
    }
    let plain = Lexer { skip_unset: true, ..Lexer::new('\\') };
    let names = lex(plain, rest)?;
    let [name] = names.as_slice() else { return Ok(None) };
    let raw = lex(Lexer { raw_quotes: true, ..plain }, rest)?;
    Ok(Some(HeredocWord {
        expand: quotes(name) == raw.first().map_or(0, |raw| quotes(raw)),
        name: name.clone(),
        chomp,
        fd: fd(&word[..digits]),
        word: word.to_owned(),
    }))
}

fn lex(lexer: Lexer, text: &str) -> Result<Vec<String>, ExpandError> {
    // Nothing is set, so nothing grows: the result is never longer than the text, and the caps only have to exceed it.
    let limits = Limits {
        value_bytes_max: text.len().saturating_mul(2).max(1024),
        expanded_bytes_max: text.len().saturating_mul(8).max(1024),
        ..Limits::default()
    };
    lexer.split(text, &NoVariables, &mut Budget::new(limits))
}

fn quotes(word: &str) -> usize {
    word.bytes().filter(|byte| matches!(byte, b'\'' | b'"')).count()
}

/// Go's `ParseUint` gives the largest number when there are too many digits.
fn fd(digits: &str) -> u64 {
    if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) }
}

/// The content with the tabs at the start of each line removed.
pub(crate) fn chomp(content: &str) -> String {
    content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
