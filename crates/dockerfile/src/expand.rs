//! Variable expansion: BuildKit's shell lexer, with a budget.
//!
//! A word goes in with its quotes, escapes and `$` forms and comes out as plain text ([`Lexer::expand`]) or split at the
//! blanks that were not quoted ([`Lexer::split`]). The forms: `$name`, `${name}`, `:-` `-` `:+` `+` `:?` `?`, the pattern
//! forms `#` `##` `%` `%%`, and `/pattern/replacement` with `//` for all. The word after an operator is lexed the same way,
//! so forms nest (on a list, there is no recursion); the depth is capped by [`Limits::nesting_max`](crate::limits::Limits::nesting_max), and every byte
//! produced and every pattern step taken is charged to the [`Budget`].
//!
//! Source of truth: the Dockerfile reference, "Environment replacement", and BuildKit's `shell` tests, which are the
//! tables of this crate's conformance tests.

use std::borrow::Cow;

use crate::env::Variables;
use crate::goformat::quote;
use crate::limits::{Budget, LimitReached};
use crate::pattern::{Greed, Pattern};
use crate::template::{push_template, reverse_pattern};
use crate::word::Cursor;

/// How words are read. The default keeps nothing: quotes and escapes are removed, unset variables are empty.
#[derive(Clone, Copy, Debug)]
pub struct Lexer {
    /// The escape character: `\`, or a backtick when the file says `# escape=` so.
    pub escape: char,
    /// Keep quotes in the result.
    pub raw_quotes: bool,
    /// Keep escape characters in the result.
    pub raw_escapes: bool,
    /// Treat quotes as ordinary characters (the bodies of heredocs).
    pub skip_quotes: bool,
    /// Leave `$name` as it is when `name` is not set.
    pub skip_unset: bool,
}

impl Default for Lexer {
    fn default() -> Self {
        Lexer::new('\\')
    }
}

/// An expanded word and the variables it looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded<'w> {
    /// The text; borrowed when the word held nothing to expand.
    pub text: Cow<'w, str>,
    /// The variables that were set, each once, in order of first use.
    pub matched: Vec<&'w str>,
    /// The variables that were not set, each once, in order of first use, even those with a `:-` default.
    pub unmatched: Vec<&'w str>,
}

/// Why a word could not be expanded. `Display` is BuildKit's wording, with the word in front.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {cause}", quote(word))]
pub struct ExpandError {
    /// The word as it was written.
    pub word: String,
    /// What is wrong with it.
    pub cause: ExpandCause,
    /// The variables before the fault that were not set, each once, in order of first use.
    pub unmatched: Vec<String>,
}

/// What is wrong with a word. `Display` is BuildKit's wording where BuildKit has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandCause {
    /// A `'` without its partner.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// A `"` without its partner.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${` without its `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${name/pattern` without the second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${{` or `${:`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// An operator that does not exist, such as `^` or `:#`.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// A pattern with an escape that does not exist.
    #[error("invalid pattern ({pattern}) in substitution: {escape}")]
    InvalidPattern {
        /// The pattern; for `%` it is back to front, as the reference prints it.
        pattern: String,
        /// Its fault.
        escape: crate::pattern::InvalidEscape,
    },
    /// `${name?message}` of a variable that is unset, or `${name:?message}` of one that is unset or empty.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message after the `?`, or a standard one.
        message: String,
    },
    /// The expansion costs more than allowed (not an error in BuildKit).
    #[error("{0}")]
    Limit(LimitReached),
}

impl From<LimitReached> for ExpandCause {
    fn from(limit: LimitReached) -> Self {
        ExpandCause::Limit(limit)
    }
}

impl Lexer {
    /// A lexer with this escape character that keeps nothing raw.
    #[must_use]
    pub fn new(escape: char) -> Self {
        Lexer { escape, raw_quotes: false, raw_escapes: false, skip_quotes: false, skip_unset: false }
    }

    /// Expands `word` to one text; blanks in it, and in the values, stay.
    ///
    /// # Errors
    /// [`ExpandError`] for a malformed word, a `?` form that is not satisfied, or a budget that is spent.
    pub fn expand<'w>(
        &self,
        word: &'w str,
        variables: &dyn Variables,
        budget: &mut Budget,
    ) -> Result<Expanded<'w>, ExpandError> {
        if self.is_plain(word) {
            return Ok(Expanded { text: Cow::Borrowed(word), matched: Vec::new(), unmatched: Vec::new() });
        }
        let mut run = Run::new(self, word, variables, budget);
        let text = run.whole();
        let (matched, unmatched) = (run.matched, run.unmatched);
        match text {
            Ok(text) => Ok(Expanded { text: Cow::Owned(text), matched, unmatched }),
            Err(cause) => Err(fault(word, cause, &unmatched)),
        }
    }

    /// Expands `word` and splits the result at the blanks that were not quoted, those inside values included.
    ///
    /// The reference has a bug that is kept: a form with an operator, such as `${X:-81}`, forgets what came before it
    /// in the same word, so `80${X:-81}` is `81`.
    ///
    /// # Errors
    /// As for [`Lexer::expand`].
    pub fn split(
        &self,
        word: &str,
        variables: &dyn Variables,
        budget: &mut Budget,
    ) -> Result<Vec<String>, ExpandError> {
        let mut run = Run::new(self, word, variables, budget);
        run.words = Some(Words::default());
        match run.whole() {
            Ok(_) => Ok(run.words.map(Words::finish).unwrap_or_default()),
            Err(cause) => Err(fault(word, cause, &run.unmatched)),
        }
    }

    fn is_plain(&self, word: &str) -> bool {
        let special = |c: char| matches!(c, '$' | '\'' | '"' | '\u{FEFF}') || c == self.escape;
        !word.contains(special)
    }
}

/// The variables that were not set, of a word that could be expanded and of one that could not.
pub(crate) fn unmatched<'e>(expanded: &'e Result<Expanded<'_>, ExpandError>) -> Vec<&'e str> {
    match expanded {
        Ok(expanded) => expanded.unmatched.clone(),
        Err(error) => error.unmatched.iter().map(String::as_str).collect(),
    }
}

fn fault(word: &str, cause: ExpandCause, unmatched: &[&str]) -> ExpandError {
    ExpandError { word: word.to_owned(), cause, unmatched: unmatched.iter().map(|name| (*name).to_owned()).collect() }
}

/// Words being split off. Only the outermost level fills it.
#[derive(Debug, Default)]
struct Words {
    done: Vec<String>,
    current: String,
    in_word: bool,
}

impl Words {
    /// A character of the word's own text, or of a value: a blank ends the word.
    fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.push_raw(c);
        } else if self.in_word && !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
            self.in_word = false;
        }
    }

    /// A character that was quoted or escaped.
    fn push_raw(&mut self, c: char) {
        self.current.push(c);
        self.in_word = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}

/// One word being expanded. Forms nest on a list of levels, not on the stack, so that no input can exhaust it.
struct Run<'r, 'w> {
    lexer: &'r Lexer,
    cursor: Cursor<'w>,
    variables: &'r dyn Variables,
    budget: &'r mut Budget,
    /// The word itself, then the word after each operator that is still open.
    levels: Vec<Level<'w>>,
    words: Option<Words>,
    matched: Vec<&'w str>,
    unmatched: Vec<&'w str>,
}

/// A text up to the character that ends it.
struct Level<'w> {
    ending: Ending<'w>,
    out: String,
    /// Inside double quotes: where in `out` they began.
    quoted: Option<usize>,
    raw_escapes: bool,
}

/// What a level is for, and so what ends it.
enum Ending<'w> {
    /// The whole word.
    End,
    /// The word of `${name:-word}` and its kin; `colon` is whether there was one.
    Operator { name: &'w str, operator: char, colon: bool },
    /// The pattern of `${name/pattern/replacement}`; `all` is whether the first slash was doubled.
    Pattern { name: &'w str, all: bool },
    /// The replacement.
    Replacement { name: &'w str, all: bool, pattern: String },
}

impl Ending<'_> {
    fn stop(&self) -> Option<char> {
        match self {
            Ending::End => None,
            Ending::Pattern { .. } => Some('/'),
            Ending::Operator { .. } | Ending::Replacement { .. } => Some('}'),
        }
    }

    /// What is reported when the text ends before the level does.
    fn missing(&self) -> ExpandCause {
        match self {
            Ending::Pattern { .. } => ExpandCause::MissingSlash,
            _ => ExpandCause::MissingBrace,
        }
    }
}

impl<'w> Level<'w> {
    fn new(ending: Ending<'w>, raw_escapes: bool) -> Self {
        Level { ending, out: String::new(), quoted: None, raw_escapes }
    }
}

impl<'r, 'w> Run<'r, 'w> {
    fn new(lexer: &'r Lexer, word: &'w str, variables: &'r dyn Variables, budget: &'r mut Budget) -> Self {
        Run {
            lexer,
            cursor: Cursor::new(word),
            variables,
            budget,
            levels: Vec::new(),
            words: None,
            matched: Vec::new(),
            unmatched: Vec::new(),
        }
    }

    /// The whole word.
    fn whole(&mut self) -> Result<String, ExpandCause> {
        let mut level = Level::new(Ending::End, self.lexer.raw_escapes);
        level.out.reserve(self.cursor.len() + ROOM_FOR_VALUES);
        loop {
            let step = match (self.cursor.peek(), level.quoted) {
                (None, Some(_)) => Err(ExpandCause::DoubleQuote),
                (None, None) if matches!(level.ending, Ending::End) => {
                    self.budget.spend_bytes(level.out.len())?;
                    return Ok(level.out);
                }
                (None, None) => Err(level.ending.missing()),
                (Some(c), None) if level.ending.stop() == Some(c) => self.close(&mut level),
                (Some(c), None) => self.element(c, &mut level),
                (Some(c), Some(start)) => self.element_in_quotes(c, start, &mut level),
            };
            step.map_err(|cause| self.reported(cause, &level))?;
            self.budget.check_value(level.out.len())?;
        }
    }

    /// A fault inside a form whose text has run out is reported as the missing end of the outermost form, as the reference
    /// does.
    fn reported(&self, cause: ExpandCause, level: &Level<'_>) -> ExpandCause {
        let outermost = match self.levels.get(1) {
            Some(outermost) => &outermost.ending,
            None if !self.levels.is_empty() => &level.ending,
            None => return cause,
        };
        match cause {
            ExpandCause::Limit(_) => cause,
            _ if self.cursor.at_end() => outermost.missing(),
            _ => cause,
        }
    }

    /// Goes one level deeper.
    fn open(&mut self, level: &mut Level<'w>, ending: Ending<'w>, raw_escapes: bool) -> Result<(), ExpandCause> {
        let nesting_max = self.budget.limits().nesting_max;
        if self.levels.len() >= nesting_max {
            return Err(LimitReached::Nesting(nesting_max).into());
        }
        if let Some(words) = &mut self.words {
            // The reference shares one buffer for words among all levels: entering one forgets what the outer had.
            words.current.clear();
        }
        self.levels.push(std::mem::replace(level, Level::new(ending, raw_escapes)));
        Ok(())
    }

    /// Takes the character that ends the level, and goes on in the one around it with what the form is worth.
    fn close(&mut self, level: &mut Level<'w>) -> Result<(), ExpandCause> {
        self.cursor.next();
        let Some(outer) = self.levels.pop() else { return Ok(()) };
        let Level { ending, out: word, .. } = std::mem::replace(level, outer);
        self.budget.spend_bytes(word.len())?;
        let start = level.out.len();
        match ending {
            Ending::End => {}
            Ending::Pattern { name, all } => {
                return self.open(level, Ending::Replacement { name, all, pattern: word }, true);
            }
            Ending::Operator { name, operator, colon } => {
                self.operator(name, operator, colon, word, &mut level.out)?;
            }
            Ending::Replacement { name, all, pattern } => {
                self.replacement(name, all, &pattern, &word, &mut level.out)?;
            }
        }
        self.split_value(level, start);
        Ok(())
    }

    /// The words that a value, `out` from `start`, is made of.
    fn split_value(&mut self, level: &Level<'_>, start: usize) {
        if let (Some(words), true, None) = (&mut self.words, self.levels.is_empty(), level.quoted) {
            level.out[start..].chars().for_each(|c| words.push(c));
        }
    }

    /// Adds a text that is not split; `out` from `start`.
    fn keep_together(&mut self, level: &Level<'_>, start: usize) {
        if let (Some(words), true) = (&mut self.words, self.levels.is_empty()) {
            words.current.push_str(&level.out[start..]);
            words.in_word = true;
        }
    }

    /// One quoted part, the start of a form, an escape or a character.
    fn element(&mut self, c: char, level: &mut Level<'w>) -> Result<(), ExpandCause> {
        let start = level.out.len();
        match c {
            '$' => self.dollar(level)?,
            '\'' if !self.lexer.skip_quotes => {
                self.single_quoted(&mut level.out)?;
                self.keep_together(level, start);
            }
            '"' if !self.lexer.skip_quotes => {
                level.quoted = Some(start);
                self.quote_mark(&mut level.out);
            }
            '<' => {
                self.angle(&mut level.out);
                self.keep_together(level, start);
            }
            c if c == self.lexer.escape => self.escaped(c, level),
            c => {
                self.cursor.next();
                level.out.push(c);
                self.split_value(level, start);
            }
        }
        Ok(())
    }

    fn escaped(&mut self, escape: char, level: &mut Level<'_>) {
        self.cursor.next();
        let start = level.out.len();
        if level.raw_escapes {
            level.out.push(escape);
        }
        // An escape at the very end escapes nothing and is dropped, unless escapes are kept.
        level.out.extend(self.cursor.next());
        if level.out.len() > start {
            self.keep_together(level, start);
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), ExpandCause> {
        self.quote_mark(out);
        out.push_str(self.cursor.take_while(|c| c != '\''));
        if self.cursor.at_end() {
            return Err(ExpandCause::SingleQuote);
        }
        self.quote_mark(out);
        Ok(())
    }

    /// Inside double quotes that began at `start`.
    fn element_in_quotes(&mut self, c: char, start: usize, level: &mut Level<'w>) -> Result<(), ExpandCause> {
        let escape = self.lexer.escape;
        match c {
            '"' => {
                self.quote_mark(&mut level.out);
                level.quoted = None;
                self.keep_together(level, start);
            }
            '$' => self.dollar(level)?,
            c if c == escape => self.escaped_in_quotes(c, level),
            _ => level.out.push_str(self.cursor.take_while(|c| c != '"' && c != '$' && c != escape)),
        }
        Ok(())
    }

    /// Takes a quote, and keeps it if quotes are kept.
    fn quote_mark(&mut self, out: &mut String) {
        let mark = self.cursor.next();
        if self.lexer.raw_quotes {
            out.extend(mark);
        }
    }

    /// Inside `"` the escape only escapes `"`, `$` and itself; before others it stays.
    fn escaped_in_quotes(&mut self, escape: char, level: &mut Level<'_>) {
        self.cursor.next();
        if level.raw_escapes {
            level.out.push(escape);
        }
        match self.cursor.peek() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => {
                self.cursor.next();
                level.out.push(c);
            }
            Some(_) => level.out.push(escape),
        }
    }

    /// `<<` keeps the blanks after it, so that `<< EOF` stays one word.
    fn angle(&mut self, out: &mut String) {
        self.cursor.next();
        out.push('<');
        if self.cursor.peek() == Some('<') {
            self.cursor.next();
            out.push('<');
            out.push_str(self.cursor.take_while(|c| matches!(c, '\t' | '\r' | ' ')));
        }
    }

    fn dollar(&mut self, level: &mut Level<'w>) -> Result<(), ExpandCause> {
        self.cursor.next();
        if self.cursor.peek() == Some('{') {
            self.cursor.next();
            return self.braced(level);
        }
        let start = level.out.len();
        match self.cursor.name() {
            "" => level.out.push('$'),
            name => match self.look_up(name) {
                None if self.lexer.skip_unset => level.out.extend(["$", name]),
                value => level.out.push_str(value.unwrap_or_default()),
            },
        }
        self.split_value(level, start);
        Ok(())
    }

    /// What follows `${`.
    fn braced(&mut self, level: &mut Level<'w>) -> Result<(), ExpandCause> {
        match self.cursor.peek() {
            None => return Err(ExpandCause::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandCause::BadSubstitution),
            Some(_) => {}
        }
        let name = self.cursor.name();
        match self.cursor.next() {
            Some('}') => {
                let start = level.out.len();
                match self.look_up(name) {
                    None if self.lexer.skip_unset => level.out.extend(["${", name, "}"]),
                    value => level.out.push_str(value.unwrap_or_default()),
                }
                self.split_value(level, start);
                Ok(())
            }
            Some('/') => {
                let all = self.cursor.peek() == Some('/');
                if all {
                    self.cursor.next();
                }
                self.open(level, Ending::Pattern { name, all }, true)
            }
            Some(':') => {
                // At the end of the text there is nothing to stand for the operator, and the brace is missing anyway.
                let operator = self.cursor.next().unwrap_or(char::REPLACEMENT_CHARACTER);
                match operator {
                    '#' | '%' => Err(unsupported(":", Some(operator))),
                    _ => self.open(level, Ending::Operator { name, operator, colon: true }, false),
                }
            }
            Some(operator @ ('+' | '-' | '?' | '#' | '%')) => {
                let is_pattern = matches!(operator, '#' | '%');
                self.open(level, Ending::Operator { name, operator, colon: false }, is_pattern)
            }
            other => Err(unsupported("", other)),
        }
    }

    /// What `${name:-word}` and its kin are worth; with a colon, empty is as good as unset.
    fn operator(
        &mut self,
        name: &'w str,
        operator: char,
        colon: bool,
        word: String,
        out: &mut String,
    ) -> Result<(), ExpandCause> {
        let mark = if colon { ":" } else { "" };
        let value = self.look_up(name);
        if value.is_none() && self.lexer.skip_unset {
            out.push_str(&format!("${{{name}{mark}{operator}{word}}}"));
            return Ok(());
        }
        let present = value.filter(|value| !(colon && value.is_empty()));
        match operator {
            '-' => out.push_str(present.unwrap_or(&word)),
            '+' => out.push_str(present.map_or("", |_| &word)),
            '?' => out.push_str(present.ok_or_else(|| required(name, value.is_some(), word))?),
            '#' | '%' => {
                let stripped = self.strip(operator, &word, value.unwrap_or_default())?;
                out.push_str(&stripped);
            }
            other => return Err(unsupported(mark, Some(other))),
        }
        Ok(())
    }

    /// `${name#pattern}` and `${name%pattern}`; a doubled operator takes the longest match.
    fn strip(&mut self, side: char, word: &str, value: &str) -> Result<String, ExpandCause> {
        let (greed, pattern) = match word.strip_prefix(side) {
            Some(pattern) => (Greed::Longest, pattern),
            None => (Greed::Shortest, word),
        };
        // The budget covers the copies, which cost even when nothing matches.
        self.budget.spend_steps(value.len())?;
        if side == '#' {
            let text: Vec<char> = value.chars().collect();
            let end = self.compile(pattern)?.match_prefix(&text, greed, self.budget)?.unwrap_or(0);
            return Ok(text.into_iter().skip(end).collect());
        }
        let pattern = reverse_pattern(pattern);
        let text: Vec<char> = value.chars().rev().collect();
        let end = self.compile(&pattern)?.match_prefix(&text, greed, self.budget)?.unwrap_or(0);
        Ok(text.into_iter().skip(end).rev().collect())
    }

    fn compile(&self, pattern: &str) -> Result<Pattern, ExpandCause> {
        Pattern::compile(pattern).map_err(|escape| ExpandCause::InvalidPattern { pattern: pattern.to_owned(), escape })
    }

    /// What `${name/pattern/replacement}` is worth.
    fn replacement(
        &mut self,
        name: &'w str,
        all: bool,
        pattern: &str,
        replacement: &str,
        out: &mut String,
    ) -> Result<(), ExpandCause> {
        match self.look_up(name) {
            None if self.lexer.skip_unset => {
                // Once a doubled slash is gone it cannot be told from a single one; the reference forgets it, too.
                out.push_str(&format!("${{{name}/{pattern}/{replacement}}}"));
                Ok(())
            }
            value => self.replace(value.unwrap_or_default(), pattern, replacement, all, out),
        }
    }

    fn replace(
        &mut self,
        value: &str,
        pattern: &str,
        replacement: &str,
        all: bool,
        out: &mut String,
    ) -> Result<(), ExpandCause> {
        self.budget.spend_steps(value.len())?;
        let pattern = self.compile(pattern)?;
        let text: Vec<char> = value.chars().collect();
        if all {
            return self.replace_all(&text, &pattern, replacement, out);
        }
        match pattern.find(&text, 0, self.budget)? {
            None => out.push_str(value),
            Some((start, end)) => {
                out.extend(&text[..start]);
                out.push_str(replacement);
                out.extend(&text[end..]);
            }
        }
        Ok(())
    }

    /// Every match, left to right; an empty match right after another does not count.
    fn replace_all(
        &mut self,
        text: &[char],
        pattern: &Pattern,
        replacement: &str,
        out: &mut String,
    ) -> Result<(), ExpandCause> {
        let (mut copied, mut search) = (0, 0);
        while let Some((start, end)) = pattern.find(text, search, self.budget)? {
            out.extend(&text[copied..start]);
            if end > copied || start == 0 {
                push_template(out, replacement, &text[start..end]);
            }
            self.budget.check_value(out.len())?;
            copied = end;
            search = end.max(search + 1);
        }
        out.extend(&text[copied..]);
        Ok(())
    }

    fn look_up(&mut self, name: &'w str) -> Option<&'r str> {
        let value = self.variables.get(name);
        let seen = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        // Names in one word are few; past a handful only the lint could tell, and it wants each once.
        if self.words.is_none() && !seen.contains(&name) && seen.len() < SEEN_MAX {
            seen.push(name);
        }
        value
    }
}

/// Most words hold a short value or two.
const ROOM_FOR_VALUES: usize = 64;

/// How many different variables of one word are remembered for lints.
const SEEN_MAX: usize = 64;

fn unsupported(colon: &str, operator: Option<char>) -> ExpandCause {
    ExpandCause::UnsupportedModifier(format!("{colon}{}", operator.unwrap_or(char::REPLACEMENT_CHARACTER)))
}

fn required(name: &str, is_set: bool, message: String) -> ExpandCause {
    let message = match (message.is_empty(), is_set) {
        (false, _) => message,
        (true, true) => "is not allowed to be empty".to_owned(),
        (true, false) => "is not allowed to be unset".to_owned(),
    };
    ExpandCause::Required { name: name.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::limits::Limits;

    fn env() -> Env {
        [("PWD", "/home"), ("P", "/usr/local/bin"), ("E", ""), ("S", " a b "), ("D", "a.b.c")].into_iter().collect()
    }

    fn expand(word: &str) -> Result<String, String> {
        let mut budget = Budget::new(Limits::default());
        let expanded = Lexer::default().expand(word, &env(), &mut budget);
        expanded.map(|e| e.text.into_owned()).map_err(|e| e.cause.to_string())
    }

    #[test]
    fn forms() {
        for (word, text) in [
            ("${P#*/}", "usr/local/bin"),
            ("${P##*/}", "bin"),
            ("${P%/*}", "/usr/local"),
            ("${P%%/*}", ""),
            ("${D/./-}", "a-b.c"),
            ("${D//./-}", "a-b-c"),
            ("${D//./[\\$0]}", "a[\\.]b[\\.]c"),
            ("${D//\\//x}", "a.b.c"),
            ("${D///-}", "-a-.-b-.-c-"),
            ("${D//*/x}", "x"),
            ("${X:-${Y:-\"}\"}}", "}"),
            ("${X-a\\}b}", "a}b"),
            ("'$P'\"$PWD\"$", "$P/home$"),
            ("${E:+x}${E+y}", "y"),
        ] {
            assert_eq!(expand(word).as_deref(), Ok(text), "{word}");
        }
    }

    #[test]
    fn faults_in_the_words_of_the_reference() {
        for (word, message) in [
            ("${", "syntax error: missing '}'"),
            ("${x", "unsupported modifier (\u{FFFD}) in substitution"),
            ("${x:-a", "syntax error: missing '}'"),
            ("${x/a", "syntax error: missing '/' in ${}"),
            ("${x:-\"a}", "syntax error: missing '}'"),
            ("${P%a\\c}", "invalid pattern (\\ca) in substitution: invalid escape '\\c'"),
            ("${x:?no}", "x: no"),
            ("${E:?}", "E: is not allowed to be empty"),
            ("'a", "unexpected end of statement while looking for matching single-quote"),
        ] {
            assert_eq!(expand(word).unwrap_err(), message, "{word}");
        }
    }

    #[test]
    fn words_split_at_unquoted_blanks_and_forget_before_an_operator() {
        let split = |word: &str| Lexer::default().split(word, &env(), &mut Budget::new(Limits::default())).unwrap();
        assert_eq!(split("x${S}y \"$S\""), ["x", "a", "b", "y", " a b "]);
        assert_eq!(split("80${X:-81}"), ["81"]);
        assert_eq!(split("a<< b c"), ["a<< b", "c"]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn forms_nest_as_deep_as_the_limit_says() {
        let limits = Limits { nesting_max: 100_000, expanded_bytes_max: 1 << 30, ..Limits::default() };
        let deep = format!("{}x{}", "${a:-\"".repeat(50_000), "\"}".repeat(50_000));
        let expanded = Lexer::default().expand(&deep, &env(), &mut Budget::new(limits)).unwrap();
        assert_eq!(expanded.text, "x");
    }

    #[test]
    fn a_budget_stops_doubling_values() {
        let mut budget = Budget::new(Limits::default());
        let env: Env = [("A", "a".repeat(100_000))].into_iter().collect();
        let error = Lexer::default().expand("$A$A", &env, &mut budget).unwrap_err();
        assert_eq!(error.cause, ExpandCause::Limit(LimitReached::ValueBytes(128 << 10)));
        let nested = format!("{}x{}", "${a:-".repeat(65), "}".repeat(65));
        let error = Lexer::default().expand(&nested, &env, &mut budget).unwrap_err();
        assert_eq!(error.cause, ExpandCause::Limit(LimitReached::Nesting(64)));
    }
}
