//! Variable expansion: BuildKit's shell lexer, with a budget.
//!
//! A word goes in with its quotes, escapes and `$` forms and comes out as plain text ([`Lexer::expand`]) or split at the
//! blanks that were not quoted ([`Lexer::split`]). The forms: `$name`, `${name}`, `:-` `-` `:+` `+` `:?` `?`, the pattern
//! forms `#` `##` `%` `%%`, and `/pattern/replacement` with `//` for all. The word after an operator is lexed the same way,
//! so forms nest; the depth is capped by [`Limits::nesting_max`](crate::limits::Limits::nesting_max), and every byte
//! produced and every pattern step taken is charged to the [`Budget`].
//!
//! Source of truth: the Dockerfile reference, "Environment replacement", and BuildKit's `shell` tests, which are the
//! tables of this crate's conformance tests.

use std::borrow::Cow;

use crate::env::Variables;
use crate::goformat::quote;
use crate::limits::{Budget, LimitReached};
use crate::pattern::{Greed, Pattern};
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
    pub matched: Vec<String>,
    /// The variables that were not set, each once, in order of first use, even those with a `:-` default.
    pub unmatched: Vec<String>,
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
        let text = run.to_end();
        let (matched, unmatched) = (run.matched, run.unmatched);
        match text {
            Ok(text) => Ok(Expanded { text: Cow::Owned(text), matched, unmatched }),
            Err(cause) => Err(ExpandError { word: word.to_owned(), cause, unmatched }),
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
        match run.to_end() {
            Ok(_) => Ok(run.words.map(Words::finish).unwrap_or_default()),
            Err(cause) => Err(ExpandError { word: word.to_owned(), cause, unmatched: run.unmatched }),
        }
    }

    fn is_plain(&self, word: &str) -> bool {
        let special = |c: char| matches!(c, '$' | '\'' | '"' | '\u{FEFF}') || c == self.escape;
        !word.contains(special)
    }
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

/// One word being expanded.
struct Run<'r, 'w> {
    lexer: &'r Lexer,
    cursor: Cursor<'w>,
    variables: &'r dyn Variables,
    budget: &'r mut Budget,
    raw_escapes: bool,
    depth: usize,
    words: Option<Words>,
    matched: Vec<String>,
    unmatched: Vec<String>,
}

impl<'r, 'w> Run<'r, 'w> {
    fn new(lexer: &'r Lexer, word: &'w str, variables: &'r dyn Variables, budget: &'r mut Budget) -> Self {
        Run {
            lexer,
            cursor: Cursor::new(word),
            variables,
            budget,
            raw_escapes: lexer.raw_escapes,
            depth: 0,
            words: None,
            matched: Vec::new(),
            unmatched: Vec::new(),
        }
    }

    /// The whole word.
    fn to_end(&mut self) -> Result<String, ExpandCause> {
        let mut out = String::new();
        while let Some(c) = self.cursor.peek() {
            self.element(c, &mut out)?;
        }
        self.budget.spend_bytes(out.len())?;
        Ok(out)
    }

    /// The word after an operator, up to `stop`, which is taken too. `None` when the text ends first.
    fn to_stop(&mut self, stop: char, raw_escapes: bool) -> Result<Option<String>, ExpandCause> {
        self.depth += 1;
        let nesting_max = self.budget.limits().nesting_max;
        if self.depth > nesting_max {
            return Err(LimitReached::Nesting(nesting_max).into());
        }
        let outer_escapes = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        // The reference shares one buffer for words among all levels: entering one forgets what the outer had.
        let outer_words = self.words.take().map(|words| Words { current: String::new(), ..words });
        let mut out = String::new();
        let ended = loop {
            match self.cursor.peek() {
                None => break false,
                Some(c) if c == stop => {
                    self.cursor.next();
                    break true;
                }
                Some(c) => self.element(c, &mut out)?,
            }
        };
        self.words = outer_words;
        self.raw_escapes = outer_escapes;
        self.depth -= 1;
        self.budget.spend_bytes(out.len())?;
        Ok(ended.then_some(out))
    }

    /// One quoted part, form, escape or character.
    fn element(&mut self, c: char, out: &mut String) -> Result<(), ExpandCause> {
        let start = out.len();
        match c {
            '$' => {
                self.dollar(out)?;
                if let Some(words) = &mut self.words {
                    out[start..].chars().for_each(|c| words.push(c));
                }
            }
            '\'' | '"' | '<' if c == '<' || !self.lexer.skip_quotes => {
                match c {
                    '\'' => self.single_quoted(out)?,
                    '"' => self.double_quoted(out)?,
                    _ => self.angle(out),
                }
                if let Some(words) = &mut self.words {
                    words.current.push_str(&out[start..]);
                    words.in_word = true;
                }
            }
            c if c == self.lexer.escape => self.escaped(c, out),
            c => {
                self.cursor.next();
                out.push(c);
                if let Some(words) = &mut self.words {
                    words.push(c);
                }
            }
        }
        Ok(self.budget.check_value(out.len())?)
    }

    fn escaped(&mut self, escape: char, out: &mut String) {
        self.cursor.next();
        let kept = self.raw_escapes.then_some(escape);
        // An escape at the very end escapes nothing and is dropped, unless escapes are kept.
        for c in kept.into_iter().chain(self.cursor.next()) {
            out.push(c);
            if let Some(words) = &mut self.words {
                words.push_raw(c);
            }
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), ExpandCause> {
        self.quote_mark(out);
        out.push_str(self.cursor.take_while(|c| c != '\''));
        match self.cursor.at_end() {
            true => Err(ExpandCause::SingleQuote),
            false => {
                self.quote_mark(out);
                Ok(())
            }
        }
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), ExpandCause> {
        self.quote_mark(out);
        loop {
            match self.cursor.peek() {
                None => return Err(ExpandCause::DoubleQuote),
                Some('"') => {
                    self.quote_mark(out);
                    return Ok(());
                }
                Some('$') => {
                    self.dollar(out)?;
                    self.budget.check_value(out.len())?;
                }
                Some(c) if c == self.lexer.escape => self.escaped_in_quotes(c, out),
                Some(_) => {
                    let escape = self.lexer.escape;
                    out.push_str(self.cursor.take_while(|c| c != '"' && c != '$' && c != escape));
                }
            }
        }
    }

    /// Takes a quote, and keeps it if quotes are kept.
    fn quote_mark(&mut self, out: &mut String) {
        let mark = self.cursor.next();
        if self.lexer.raw_quotes {
            out.extend(mark);
        }
    }

    /// Inside `"` the escape only escapes `"`, `$` and itself; before others it stays.
    fn escaped_in_quotes(&mut self, escape: char, out: &mut String) {
        self.cursor.next();
        if self.raw_escapes {
            out.push(escape);
        }
        match self.cursor.peek() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => {
                self.cursor.next();
                out.push(c);
            }
            Some(_) => out.push(escape),
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

    fn dollar(&mut self, out: &mut String) -> Result<(), ExpandCause> {
        self.cursor.next();
        if self.cursor.peek() == Some('{') {
            self.cursor.next();
            return self.braced(out);
        }
        match self.cursor.name() {
            "" => out.push('$'),
            name => match self.look_up(name) {
                None if self.lexer.skip_unset => {
                    out.push('$');
                    out.push_str(name);
                }
                value => out.push_str(value.unwrap_or_default()),
            },
        }
        Ok(())
    }

    /// What follows `${`.
    fn braced(&mut self, out: &mut String) -> Result<(), ExpandCause> {
        match self.cursor.peek() {
            None => return Err(ExpandCause::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandCause::BadSubstitution),
            Some(_) => {}
        }
        let name = self.cursor.name();
        match self.cursor.next() {
            Some('}') => {
                match self.look_up(name) {
                    None if self.lexer.skip_unset => out.extend(["${", name, "}"]),
                    value => out.push_str(value.unwrap_or_default()),
                }
                Ok(())
            }
            Some('/') => self.replacement(name, out),
            Some(':') => {
                let operator = self.cursor.next();
                self.operator(name, operator, true, out)
            }
            Some(operator @ ('+' | '-' | '?' | '#' | '%')) => self.operator(name, Some(operator), false, out),
            other => Err(unsupported("", other)),
        }
    }

    /// `${name:-word}` and its kin; `empty_is_unset` says that there was a colon.
    fn operator(
        &mut self,
        name: &str,
        operator: Option<char>,
        empty_is_unset: bool,
        out: &mut String,
    ) -> Result<(), ExpandCause> {
        let colon = if empty_is_unset { ":" } else { "" };
        let is_pattern = matches!(operator, Some('#' | '%'));
        if empty_is_unset && is_pattern {
            return Err(unsupported(colon, operator));
        }
        let Some(word) = self.end_as(ExpandCause::MissingBrace, |run| run.to_stop('}', is_pattern))? else {
            return Err(ExpandCause::MissingBrace);
        };
        let value = self.look_up(name);
        if value.is_none() && self.lexer.skip_unset {
            let operator = operator.unwrap_or(char::REPLACEMENT_CHARACTER);
            out.push_str(&format!("${{{name}{colon}{operator}{word}}}"));
            return Ok(());
        }
        let present = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match operator {
            Some('-') => out.push_str(present.unwrap_or(&word)),
            Some('+') => out.push_str(present.map_or("", |_| &word)),
            Some('?') => out.push_str(present.ok_or_else(|| required(name, value.is_some(), word))?),
            Some(side @ ('#' | '%')) => {
                let stripped = self.strip(side, &word, value.unwrap_or_default())?;
                out.push_str(&stripped);
            }
            other => return Err(unsupported(colon, other)),
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

    /// `${name/pattern/replacement}`, or `//` for every match.
    fn replacement(&mut self, name: &str, out: &mut String) -> Result<(), ExpandCause> {
        let all = self.cursor.peek() == Some('/');
        if all {
            self.cursor.next();
        }
        let Some(pattern) = self.end_as(ExpandCause::MissingSlash, |run| run.to_stop('/', true))? else {
            return Err(ExpandCause::MissingSlash);
        };
        let Some(replacement) = self.end_as(ExpandCause::MissingBrace, |run| run.to_stop('}', true))? else {
            return Err(ExpandCause::MissingBrace);
        };
        let Some(value) = self.look_up(name) else {
            if self.lexer.skip_unset {
                out.push_str(&format!("${{{name}/{pattern}/{replacement}}}"));
                return Ok(());
            }
            return self.replace("", &pattern, &replacement, all, out);
        };
        self.replace(value, &pattern, &replacement, all, out)
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

    /// An error inside a form whose text has run out is reported as the form's missing end, as the reference does.
    fn end_as<T>(
        &mut self,
        missing: ExpandCause,
        read: impl FnOnce(&mut Self) -> Result<T, ExpandCause>,
    ) -> Result<T, ExpandCause> {
        read(self).map_err(|cause| match cause {
            ExpandCause::Limit(_) => cause,
            _ if self.cursor.at_end() => missing,
            _ => cause,
        })
    }

    fn look_up(&mut self, name: &str) -> Option<&'r str> {
        let value = self.variables.get(name);
        let seen = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        // Names in one word are few; past a handful only the lint could tell, and it wants each once.
        if self.words.is_none() && !seen.iter().any(|known| known == name) && seen.len() < SEEN_MAX {
            seen.push(name.to_owned());
        }
        value
    }
}

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

/// A pattern back to front, with each escape kept before its character.
fn reverse_pattern(pattern: &str) -> String {
    let mut items: Vec<(Option<char>, char)> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(escaped)) => {
                chars.next();
                items.push((Some('\\'), escaped));
            }
            _ => items.push((None, c)),
        }
    }
    items.into_iter().rev().flat_map(|(escape, c)| escape.into_iter().chain([c])).collect()
}

/// The replacement of `//`, in which Go's `$0`, `${0}` and `$$` mean the match and a dollar, and other groups are empty.
fn push_template(out: &mut String, template: &str, found: &[char]) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        match group_name(rest) {
            None => out.push('$'),
            Some((name, after)) => {
                if name == "0" {
                    out.extend(found);
                }
                rest = after;
            }
        }
    }
    out.push_str(rest);
}

/// The name of a group in a replacement, with or without braces, and what follows.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('{').unwrap_or(text);
    let end = body.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(body.len());
    let (name, rest) = body.split_at(end);
    let rest = if text.starts_with('{') { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
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
            assert_eq!(expand(word).map_err(|m| m).unwrap_err(), message, "{word}");
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
