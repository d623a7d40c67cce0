//! `.dockerignore`: which paths of a build context are left out. Only reading and matching; nothing here opens a file.
//!
//! Source of truth: the Dockerfile reference, ".dockerignore file", and moby's `patternmatcher`. A path is matched by all
//! positions of the pattern at once, so that no pattern makes matching slower than pattern length times path length.

use crate::goformat::clean_path;
use crate::limits::{Budget, LimitReached};

/// The longest file that is read, in bytes (256 KiB).
pub const BYTES_MAX: usize = 256 << 10;

/// The patterns of a `.dockerignore` file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: String,
    tokens: Vec<Token>,
    /// `!pattern`: takes paths back in.
    exclusion: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: any character but a slash.
    AnyOne,
    /// `*`: any number of those.
    Star,
    /// `**` or `**/` before more: nothing, or anything that ends with a slash.
    Folders,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]` or `[^a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a `.dockerignore` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgnoreError {
    /// Longer than [`BYTES_MAX`].
    #[error("the ignore file is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// A pattern that nothing can be made of, such as `!` alone or `[a`.
    #[error("line {line}: the pattern {pattern:?} is not valid")]
    Pattern {
        /// Line, from 1.
        line: usize,
        /// The pattern as written.
        pattern: String,
    },
}

impl DockerIgnore {
    /// Reads the text of a `.dockerignore` file: a pattern a line, `#` lines and blank ones left out.
    ///
    /// # Errors
    /// [`IgnoreError`] for a file that is too long and for the first malformed pattern.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        if text.len() > BYTES_MAX {
            return Err(IgnoreError::TooLong);
        }
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
        let patterns = lines.map(|(index, line)| {
            let pattern = line.trim();
            Pattern::parse(pattern).ok_or_else(|| IgnoreError::Pattern { line: index + 1, pattern: pattern.to_owned() })
        });
        Ok(DockerIgnore { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Whether a pattern takes paths back in, so that a path alone does not decide.
    #[must_use]
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exclusion)
    }

    /// Whether everything is left out.
    #[must_use]
    pub fn ignores_all(&self) -> bool {
        self.patterns.iter().any(|pattern| !pattern.exclusion && matches!(pattern.text.as_str(), "*" | "**" | "**/*"))
    }

    /// Whether `path`, relative to the context and cleaned, or a folder it lies in, is left out. The last pattern that
    /// matches decides.
    ///
    /// # Errors
    /// [`LimitReached::PatternSteps`] when the budget is spent.
    pub fn ignores(&self, path: &str, budget: &mut Budget) -> Result<bool, LimitReached> {
        let mut ignored = false;
        for pattern in self.patterns.iter().filter(|pattern| !pattern.text.is_empty()) {
            if pattern.exclusion == ignored && pattern.matches(path, budget)? {
                ignored = !pattern.exclusion;
            }
        }
        Ok(ignored)
    }
}

impl Pattern {
    fn parse(line: &str) -> Option<Self> {
        let (exclusion, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if text.is_empty() {
            return None;
        }
        let clean = clean_path(text);
        let text = if clean.len() > 1 { clean.strip_prefix('/').unwrap_or(&clean) } else { &clean };
        Some(Pattern { tokens: tokens(text)?, text: text.to_owned(), exclusion })
    }

    /// Whether the pattern matches the whole path or a part of it that ends before a slash.
    fn matches(&self, path: &str, budget: &mut Budget) -> Result<bool, LimitReached> {
        let mut at = vec![false; self.tokens.len() + 1];
        let mut next = at.clone();
        self.enter(&mut at, 0);
        for c in path.chars() {
            budget.spend_steps(self.tokens.len() + 1)?;
            if c == '/' && at[self.tokens.len()] {
                return Ok(true);
            }
            next.fill(false);
            for (index, token) in self.tokens.iter().enumerate().filter(|(index, _)| at[*index]) {
                match token {
                    Token::Star if c != '/' => self.enter(&mut next, index),
                    Token::Rest if c != '\n' => self.enter(&mut next, index),
                    Token::Folders if c == '/' => {
                        next[index] = true;
                        self.enter(&mut next, index + 1);
                    }
                    Token::Folders if c != '\n' => next[index] = true,
                    token if token.accepts(c) => self.enter(&mut next, index + 1),
                    _ => {}
                }
            }
            std::mem::swap(&mut at, &mut next);
        }
        Ok(at[self.tokens.len()])
    }

    /// Stands before the token at `index`, and before those after it that may match nothing.
    fn enter(&self, at: &mut [bool], index: usize) {
        let optional = |token: &&Token| matches!(token, Token::Star | Token::Rest | Token::Folders);
        let skipped = self.tokens[index..].iter().take_while(optional).count();
        at[index..=index + skipped].fill(true);
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Token::Literal(literal) => *literal == c,
            Token::AnyOne => c != '/',
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *negated
            }
            Token::Star | Token::Folders | Token::Rest => false,
        }
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Token::Rest } else { Token::Folders }
            }
            '*' => Token::Star,
            '?' => Token::AnyOne,
            '\\' => Token::Literal(chars.next()?),
            '[' => class(&mut chars)?,
            literal => Token::Literal(literal),
        });
    }
    Some(tokens)
}

/// The rest of a character class, after its `[`; it needs a member and a `]`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let first = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Class { negated, ranges }),
            ']' | '-' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        let last = match chars.next_if_eq(&'-') {
            None => first,
            Some(_) => match chars.next()? {
                ']' | '-' => return None,
                '\\' => chars.next()?,
                c => c,
            },
        };
        ranges.push((first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn ignores(text: &str, path: &str) -> bool {
        DockerIgnore::parse(text).unwrap().ignores(path, &mut Budget::new(Limits::default())).unwrap()
    }

    #[test]
    fn patterns() {
        for (text, path, expected) in [
            ("a.txt", "a.txt", true),
            ("a.txt", "b/a.txt", false),
            ("/a.txt", "a.txt", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "b/a.txt", false),
            ("**/*.txt", "b/c/a.txt", true),
            ("**/*.txt", "a.txt", true),
            ("b", "b/c/a.txt", true),
            ("*/c", "b/c/a.txt", true),
            ("b/**", "b/c", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a.c", "abc", false),
            (r"a\*", "a*", true),
            ("# a\n\n a ", "a", true),
            ("a*\n!ab", "ab", false),
            ("a*\n!ab\nab", "ab", true),
            ("é*", "éa/b", true),
        ] {
            assert_eq!(ignores(text, path), expected, "{text:?} {path:?}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused_with_their_line() {
        for (text, line) in [("a\n!", 2), ("[a", 1), ("[]", 1), ("a\\", 1), ("[a-]", 1)] {
            let error = DockerIgnore::parse(text).unwrap_err();
            assert!(matches!(error, IgnoreError::Pattern { line: found, .. } if found == line), "{text:?}: {error}");
        }
        assert_eq!(DockerIgnore::parse(&"a".repeat(BYTES_MAX + 1)), Err(IgnoreError::TooLong));
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn stars_cost_no_more_than_the_budget() {
        let ignore = DockerIgnore::parse(&"*a".repeat(50_000)).unwrap();
        let mut budget = Budget::new(Limits { pattern_steps_max: 1 << 20, ..Limits::default() });
        assert_eq!(ignore.ignores(&"a".repeat(60_000), &mut budget), Err(LimitReached::PatternSteps(1 << 20)));
    }
}
