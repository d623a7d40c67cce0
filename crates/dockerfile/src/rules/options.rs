//! The options of `# check=`: which rules are silent, which experimental ones speak, and whether a finding is an error.

use crate::ast::DirectiveName;
use crate::diagnostic::Code;
use crate::directive::{detect_check, split};
use crate::goformat::{parse_bool, quote};
use crate::span::Text;

/// What `# check=` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// `skip=`: rules that are silent.
    pub skip: Selection,
    /// `experimental=`: experimental rules that speak.
    pub experimental: Selection,
    /// `error=true`: a finding fails the build.
    pub error: bool,
}

/// Some rules, by name, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every rule.
    All,
    /// These rules, each once; names that no rule has mean nothing and are dropped.
    Rules(Vec<Code>),
}

/// Shorter than the name of any rule.
const NAME_BYTES_MIN: usize = 8;

impl Default for Selection {
    fn default() -> Self {
        Selection::Rules(Vec::new())
    }
}

impl Selection {
    fn parse(list: &str) -> Self {
        match list.trim() {
            "all" => Selection::All,
            list => {
                let mut rules = Selection::default();
                let named = list.split(',').map(str::trim).filter(|name| name.len() >= NAME_BYTES_MIN);
                rules.add(Selection::Rules(named.filter_map(Code::from_name).collect()));
                rules
            }
        }
    }

    fn has(&self, code: Code) -> bool {
        match self {
            Selection::All => true,
            Selection::Rules(rules) => rules.contains(&code),
        }
    }

    fn add(&mut self, other: Selection) {
        match (self, other) {
            (Selection::Rules(rules), Selection::Rules(more)) => more.into_iter().for_each(|rule| {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }),
            (slot, Selection::All) => *slot = Selection::All,
            (Selection::All, _) => {}
        }
    }
}

/// An option that does not exist or has no valid value; `Display` is BuildKit's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCheckOptions(String);

impl CheckOptions {
    /// The options that a file's own `# check=` directive asks for; the defaults when it has none.
    ///
    /// # Errors
    /// As [`CheckOptions::parse`].
    pub fn of_file(text: &str) -> Result<Self, InvalidCheckOptions> {
        detect_check(text).map_or_else(|| Ok(CheckOptions::default()), CheckOptions::parse)
    }

    /// Reads the value of a `# check=` directive. Only the text up to the first blank counts.
    ///
    /// # Errors
    /// [`InvalidCheckOptions`] for anything but `skip=`, `experimental=` and `error=`.
    pub fn parse(value: &str) -> Result<Self, InvalidCheckOptions> {
        let mut options = CheckOptions::default();
        let value = value.split(' ').next().unwrap_or_default().trim();
        if value.is_empty() {
            return Ok(options);
        }
        for part in value.splitn(3, ';') {
            options.set(part)?;
        }
        Ok(options)
    }

    /// Sets one `key=value`; a key given twice counts with its last value.
    fn set(&mut self, part: &str) -> Result<(), InvalidCheckOptions> {
        let invalid = |what: &str| InvalidCheckOptions(format!("invalid check option {}", quote(what)));
        let (key, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
        match key.trim() {
            "skip" => self.skip = replaced(&self.skip, Selection::parse(value)),
            "experimental" => self.experimental = replaced(&self.experimental, Selection::parse(value)),
            "error" => {
                let value = value.trim();
                self.error = parse_bool(value).ok_or_else(|| {
                    InvalidCheckOptions(format!(
                        "failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
                        quote(part),
                        quote(value)
                    ))
                })?;
            }
            key => return Err(invalid(key)),
        }
        Ok(())
    }

    /// Whether the rule speaks.
    #[must_use]
    pub fn wants(&self, code: Code) -> bool {
        match code {
            Code::InvalidDefinitionDescription => self.experimental.has(code),
            _ => !self.skip.has(code),
        }
    }

    /// These options with those of the first `check=` among an instruction's `comments`; `None` when there is none, or
    /// when it is not valid (BuildKit then goes on as if it were not there).
    #[must_use]
    pub fn merged_with(&self, comments: &[Text<'_>]) -> Option<Self> {
        let value = comments.iter().find_map(|comment| check_value(comment.as_str()))?;
        let local = CheckOptions::parse(value).ok()?;
        let mut merged = self.clone();
        merged.skip.add(local.skip);
        merged.experimental.add(local.experimental);
        Some(merged)
    }
}

/// `all` stays when a later list follows it, as in BuildKit, where both are kept.
fn replaced(old: &Selection, new: Selection) -> Selection {
    if *old == Selection::All { Selection::All } else { new }
}

/// The value of a comment `check = value`, in any case of `check`.
fn check_value(comment: &str) -> Option<&str> {
    split(comment).filter(|(name, _)| *name == DirectiveName::Check).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    fn comment(text: &'static str) -> Text<'static> {
        Text { value: text.into(), span: Span::default() }
    }

    #[test]
    fn options_are_read() {
        let options = CheckOptions::parse("skip=JSONArgsRecommended, x").unwrap();
        assert!(!options.wants(Code::JSONArgsRecommended));
        assert!(options.wants(Code::UndefinedVar));
        assert!(CheckOptions::parse("skip=all;error=true").unwrap().error);
        assert!(!CheckOptions::parse("skip=all").unwrap().wants(Code::UndefinedVar));
        assert_eq!(CheckOptions::parse(""), Ok(CheckOptions::default()));
    }

    #[test]
    fn the_file_s_own_directive_is_found_where_the_reference_finds_it() {
        for text in ["# check=skip=all\n", "#!x\n# check=skip=all\n", "# escape=`\n#CHECK = skip=all note\n"] {
            assert_eq!(CheckOptions::of_file(text).map(|options| options.skip), Ok(Selection::All), "{text:?}");
        }
        for text in ["", "FROM x\n# check=skip=all\n", " # check=skip=all", "// check=skip=all"] {
            assert_eq!(CheckOptions::of_file(text), Ok(CheckOptions::default()), "{text:?}");
        }
    }

    #[test]
    fn experimental_rules_are_silent_unless_asked() {
        let code = Code::InvalidDefinitionDescription;
        assert!(!CheckOptions::default().wants(code));
        assert!(CheckOptions::parse("experimental=all").unwrap().wants(code));
        assert!(CheckOptions::parse("experimental=InvalidDefinitionDescription;skip=all").unwrap().wants(code));
    }

    #[test]
    fn faults_are_worded_as_the_reference_words_them() {
        for (value, message) in [
            ("foo", "invalid check option \"foo\""),
            ("foo=1", "invalid check option \"foo\""),
            (
                "error=maybe",
                "failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(CheckOptions::parse(value).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn comments_add_to_the_file_and_bad_ones_are_ignored() {
        let file = CheckOptions::parse("skip=UndefinedVar;error=1").unwrap();
        let merged = file.merged_with(&[comment("note"), comment("check=skip=JSONArgsRecommended why")]).unwrap();
        assert!(!merged.wants(Code::UndefinedVar) && !merged.wants(Code::JSONArgsRecommended) && merged.error);
        assert_eq!(file.merged_with(&[comment("check=bogus"), comment("check=skip=all")]), None);
        assert_eq!(file.merged_with(&[comment("a=b")]), None);
    }
}
