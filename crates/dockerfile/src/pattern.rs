//! The shell patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and literal characters.
//!
//! BuildKit turns them into Go regular expressions; here they are matched directly, with the same answers: `*` is `.*`,
//! `?` is `.`, neither matches a newline, and there are no bracket expressions.
//!
//! Between two stars stands a *piece* of characters and `?`s. Placing each piece as early as it fits never rules out a
//! match (a star can always stretch within its line), so there is no backtracking over stars.

use crate::limits::{Budget, LimitReached};

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The pieces between the stars: one more than there are stars.
    pieces: Vec<Vec<Item>>,
    has_newline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Literal(char),
    /// `?`: any character but a newline.
    Any,
}

/// Whether a star takes as little or as much as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greed {
    /// `#` and `%`: the shortest match.
    Shortest,
    /// `##` and `%%`, and the match of `/`: the longest.
    Longest,
}

/// `\x` with an `x` that cannot be escaped in a pattern; `None` is a backslash at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEscape(pub Option<char>);

impl std::fmt::Display for InvalidEscape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid escape '\\{}'", self.0.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

impl std::error::Error for InvalidEscape {}

impl Pattern {
    /// Compiles `source`, in which `\*`, `\?`, `\\`, `\}` and `\/` stand for the plain character.
    ///
    /// # Errors
    /// [`InvalidEscape`] for a backslash before anything else.
    pub fn compile(source: &str) -> Result<Self, InvalidEscape> {
        let mut pieces = vec![Vec::new()];
        let mut last = Vec::new();
        // The reference's scanner swallows a byte order mark at the start of whatever it scans.
        let mut chars = source.strip_prefix('\u{FEFF}').unwrap_or(source).chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' => {
                    let at = pieces.len() - 1;
                    pieces[at] = std::mem::take(&mut last);
                    pieces.push(Vec::new());
                }
                '?' => last.push(Item::Any),
                '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\')) => last.push(Item::Literal(escaped)),
                    other => return Err(InvalidEscape(other)),
                },
                literal => last.push(Item::Literal(literal)),
            }
        }
        let has_newline = pieces.iter().chain(std::iter::once(&last)).any(|piece| piece.contains(&Item::Literal('\n')));
        let at = pieces.len() - 1;
        pieces[at] = last;
        Ok(Pattern { pieces, has_newline })
    }

    /// Where a match that begins at the start of `text` ends, in characters.
    ///
    /// # Errors
    /// [`LimitReached`] when the budget is spent.
    pub fn match_prefix(
        &self,
        text: &[char],
        greed: Greed,
        budget: &mut Budget,
    ) -> Result<Option<usize>, LimitReached> {
        Ok(match self.match_at(text, 0, greed, budget)? {
            Outcome::Match(end) => Some(end),
            Outcome::NoMatch { .. } => None,
        })
    }

    /// The first match at or after `from`, taking as much as it can there: start and end in characters.
    ///
    /// # Errors
    /// [`LimitReached`] when the budget is spent.
    pub fn find(
        &self,
        text: &[char],
        from: usize,
        budget: &mut Budget,
    ) -> Result<Option<(usize, usize)>, LimitReached> {
        let mut start = from;
        while start <= text.len() {
            match self.match_at(text, start, Greed::Longest, budget)? {
                Outcome::Match(end) => return Ok(Some((start, end))),
                // A piece that is nowhere on the rest of the line is not there for later starts on the line either.
                Outcome::NoMatch { line_end: Some(end) } if !self.has_newline => start = end + 1,
                Outcome::NoMatch { .. } => start += 1,
            }
        }
        Ok(None)
    }

    fn match_at(
        &self,
        text: &[char],
        start: usize,
        greed: Greed,
        budget: &mut Budget,
    ) -> Result<Outcome, LimitReached> {
        budget.spend_steps(1)?;
        let Some((first, rest)) = self.pieces.split_first() else { return Ok(Outcome::Match(start)) };
        if !fits(first, text, start, budget)? {
            return Ok(Outcome::NoMatch { line_end: None });
        }
        let mut at = start + first.len();
        for (index, piece) in rest.iter().enumerate() {
            let line_end = line_end(text, at, budget)?;
            let last = index + 1 == rest.len();
            let place = match last && greed == Greed::Longest {
                true => last_place(piece, text, at, line_end, budget)?,
                false => first_place(piece, text, at, line_end, budget)?,
            };
            match place {
                Some(place) => at = place + piece.len(),
                None => return Ok(Outcome::NoMatch { line_end: Some(line_end) }),
            }
        }
        Ok(Outcome::Match(at))
    }
}

enum Outcome {
    Match(usize),
    /// With the end of the line on which a piece after a star was searched in vain.
    NoMatch {
        line_end: Option<usize>,
    },
}

fn fits(piece: &[Item], text: &[char], at: usize, budget: &mut Budget) -> Result<bool, LimitReached> {
    let Some(window) = at.checked_add(piece.len()).and_then(|end| text.get(at..end)) else { return Ok(false) };
    let same = piece.iter().zip(window).take_while(|(item, c)| item.accepts(**c)).count();
    budget.spend_steps(same + 1)?;
    Ok(same == piece.len())
}

impl Item {
    fn accepts(self, c: char) -> bool {
        match self {
            Item::Literal(literal) => literal == c,
            Item::Any => c != '\n',
        }
    }
}

/// The star's reach: it cannot cross a newline.
fn line_end(text: &[char], at: usize, budget: &mut Budget) -> Result<usize, LimitReached> {
    let reach = text[at..].iter().take_while(|c| **c != '\n').count();
    budget.spend_steps(reach / 8)?;
    Ok(at + reach)
}

fn first_place(
    piece: &[Item],
    text: &[char],
    from: usize,
    to: usize,
    budget: &mut Budget,
) -> Result<Option<usize>, LimitReached> {
    for at in from..=to {
        if fits(piece, text, at, budget)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn last_place(
    piece: &[Item],
    text: &[char],
    from: usize,
    to: usize,
    budget: &mut Budget,
) -> Result<Option<usize>, LimitReached> {
    for at in (from..=to).rev() {
        if fits(piece, text, at, budget)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn prefix(pattern: &str, text: &str, greed: Greed) -> Option<usize> {
        let text: Vec<char> = text.chars().collect();
        let mut budget = Budget::new(Limits::default());
        Pattern::compile(pattern).unwrap().match_prefix(&text, greed, &mut budget).unwrap()
    }

    fn find(pattern: &str, text: &str) -> Option<(usize, usize)> {
        let text: Vec<char> = text.chars().collect();
        Pattern::compile(pattern).unwrap().find(&text, 0, &mut Budget::new(Limits::default())).unwrap()
    }

    #[test]
    fn prefixes_as_the_reference_strips_them() {
        for (pattern, text, shortest, longest) in [
            ("", "abc", Some(0), Some(0)),
            ("a", "abc", Some(1), Some(1)),
            ("b", "abc", None, None),
            ("*b", "abab", Some(2), Some(4)),
            ("*", "abc", Some(0), Some(3)),
            ("a?", "abc", Some(2), Some(2)),
            ("*a*b", "xaxbxb", Some(4), Some(6)),
            ("*", "a\nb", Some(0), Some(1)),
            ("*b", "a\nb", None, None),
            ("?", "\n", None, None),
            (r"\*", "*a", Some(1), Some(1)),
            (r"\/a", "/ab", Some(2), Some(2)),
            ("a\n*b", "a\nxb", Some(4), Some(4)),
        ] {
            assert_eq!(prefix(pattern, text, Greed::Shortest), shortest, "{pattern:?} in {text:?}");
            assert_eq!(prefix(pattern, text, Greed::Longest), longest, "{pattern:?} in {text:?}");
        }
    }

    #[test]
    fn the_leftmost_match_wins_and_takes_all_it_can() {
        assert_eq!(find("b*c", "abxcxc"), Some((1, 6)));
        assert_eq!(find("*c", "a\nbc"), Some((2, 4)));
        assert_eq!(find("b*c", "bb\nbc"), Some((3, 5)));
        assert_eq!(find("x", "abc"), None);
        assert_eq!(find("", "abc"), Some((0, 0)));
    }

    #[test]
    fn other_escapes_are_refused() {
        assert_eq!(Pattern::compile(r"a\c"), Err(InvalidEscape(Some('c'))));
        assert_eq!(Pattern::compile("a\\").unwrap_err().to_string(), "invalid escape '\\\u{FFFD}'");
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn a_search_over_the_budget_stops() {
        let text = vec!['a'; 100_000];
        let pattern = Pattern::compile("a*a*a*a*b").unwrap();
        let mut budget = Budget::new(Limits { pattern_steps_max: 1 << 20, ..Limits::default() });
        assert_eq!(pattern.find(&text, 0, &mut budget), Ok(None));
        let slow = Pattern::compile(&"a".repeat(50_000)).unwrap();
        let text: Vec<char> = "a".repeat(49_999).chars().chain("b".repeat(50_000).chars()).collect();
        assert_eq!(slow.find(&text, 0, &mut budget), Err(LimitReached::PatternSteps(1 << 20)));
    }
}
