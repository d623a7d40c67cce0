//! The flags an instruction knows, and their values: BuildKit's `BFlags`.

use crate::ast::Instruction;
use crate::diagnostic::{Code, Diagnostic, suggest};
use crate::instruction::FlagValue;
use crate::instruction::read::{Faults, Result};
use crate::span::Text;

/// After this many faults in one instruction the rest of its flags is not looked at.
const FAULTS_MAX: usize = 16;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, `true` or `false`.
    Bool,
    /// A value.
    Value,
    /// A value; may be repeated.
    Values,
}

/// A flag an instruction knows.
pub(super) type Known = (&'static str, Takes);

/// The flags of one instruction, checked.
#[derive(Debug, Default)]
pub(super) struct FlagSet<'d> {
    given: Vec<(&'d str, FlagValue<'d>)>,
}

impl<'d> FlagSet<'d> {
    /// Checks the flags of `instruction` against those it knows, in order.
    pub(super) fn read(instruction: &'d Instruction<'d>, known: &[Known]) -> Result<Self> {
        let mut set = Self::default();
        let mut faults = Vec::new();
        for flag in &instruction.flags {
            faults.extend(set.add(flag, known).err());
            if faults.len() == FAULTS_MAX {
                break;
            }
        }
        if faults.is_empty() { Ok(set) } else { Err(Faults(faults.into_iter().map(|fault| *fault).collect())) }
    }

    fn add(&mut self, flag: &'d Text<'d>, known: &[Known]) -> std::result::Result<(), Box<Diagnostic>> {
        let (written, value) = split(flag);
        let name = &written[2..];
        let Some(&(_, takes)) = known.iter().find(|(known, _)| *known == name) else {
            return Err(Box::new(unknown(flag, written, known)));
        };
        if takes != Takes::Values && self.get(name).is_some() {
            return Err(Box::new(duplicate(flag, written)));
        }
        self.given.push((name, FlagValue { flag, value: value.unwrap_or_default() }));
        check_value(flag, written, value, takes)
    }

    pub(super) fn get(&self, name: &str) -> Option<FlagValue<'d>> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = FlagValue<'d>> {
        self.given.iter().filter(move |(given, _)| *given == name).map(|(_, value)| *value)
    }

    /// The value of a flag; empty if it was not given.
    pub(super) fn value(&self, name: &str) -> &'d str {
        self.get(name).map_or("", |flag| flag.value)
    }

    /// The value of a switch, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).map(|flag| !flag.value.eq_ignore_ascii_case("false"))
    }
}

/// The flag as written, without its value, and the value if it has an `=`.
fn split<'d>(flag: &'d Text<'d>) -> (&'d str, Option<&'d str>) {
    match flag.value.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (&flag.value, None),
    }
}

fn check_value(
    flag: &Text<'_>,
    written: &str,
    value: Option<&str>,
    takes: Takes,
) -> std::result::Result<(), Box<Diagnostic>> {
    let missing = match takes {
        Takes::Bool => value == Some(""),
        Takes::Value | Takes::Values => value.is_none(),
    };
    if missing {
        return Err(Box::new(no_value(flag, written, takes)));
    }
    let value = value.unwrap_or_default();
    if takes == Takes::Bool && !["", "true", "false"].iter().any(|known| known.eq_ignore_ascii_case(value)) {
        let message = format!("`{written}` takes `true` or `false`, not `{value}`");
        let found = Diagnostic::new(Code::InvalidFlagValue, flag.part_span(value), message);
        return Err(Box::new(found.buildkit(format!("expecting boolean value for flag {written}, not: {value}"))));
    }
    Ok(())
}

fn no_value(flag: &Text<'_>, written: &str, takes: Takes) -> Diagnostic {
    let help = match (written, takes) {
        (_, Takes::Bool) => format!("write `{written}` or `{written}=true`"),
        ("--mount", _) => "write `--mount=type=cache,target=/path`: with `=` and without blanks".to_owned(),
        _ => format!("write `{written}=value`: with `=` and without blanks"),
    };
    Diagnostic::new(Code::MissingFlagValue, flag.span, format!("`{written}` needs a value"))
        .help(help)
        .buildkit(format!("missing a value on flag: {written}"))
}

fn duplicate(flag: &Text<'_>, written: &str) -> Diagnostic {
    Diagnostic::new(Code::DuplicateFlag, flag.span, format!("`{written}` is given twice"))
        .help("keep one of the two")
        .buildkit(format!("duplicate flag specified: {written}"))
}

fn unknown(flag: &Text<'_>, written: &str, known: &[Known]) -> Diagnostic {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let span = flag.part_span(written);
    let found = Diagnostic::new(Code::UnknownFlag, span, format!("unknown flag `{written}`"))
        .buildkit(format!("unknown flag: {written}"));
    if let Some(near) = suggest(&written[2..], &names) {
        let fixed = format!("--{near}");
        return found.help(format!("did you mean `{fixed}`?")).fix(span, fixed);
    }
    if names.is_empty() {
        return found.help("this instruction has no flags; to pass one to a command, put it after the command");
    }
    found.help(format!("the flags here are --{}", names.join(", --")))
}
