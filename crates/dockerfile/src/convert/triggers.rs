//! `ONBUILD` triggers: small Dockerfiles of one instruction, which run in the stage that starts from their image.
//!
//! A trigger may itself be `ONBUILD x`, which makes `x` a trigger of the stages that start from this one; no deeper,
//! since `ONBUILD ONBUILD` does not exist.

use std::collections::HashMap;

use super::error::ConvertError;
use crate::instruction::{Command, CommandKind, Instructions, read_command};
use crate::parse::{Mode, Parsed, parse};

/// A trigger as an instruction, or what is wrong with it.
pub(super) type Trigger<'t> = Result<Command<'t>, ConvertError>;

/// Triggers by their text.
pub(super) type Triggers<'t> = HashMap<&'t str, &'t Trigger<'t>>;

/// The triggers that a file itself sets.
pub(super) fn texts_of<'d>(instructions: &'d Instructions<'_>) -> impl Iterator<Item = &'d str> {
    instructions.stages.iter().flat_map(|stage| &stage.commands).filter_map(text_of)
}

/// The trigger that an instruction sets.
pub(super) fn text_of<'d>(command: &'d Command<'_>) -> Option<&'d str> {
    match &command.kind {
        CommandKind::Onbuild(text) => Some(text),
        _ => None,
    }
}

/// Reads texts as files of their own.
pub(super) fn parse_all<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<(&'t str, Parsed<'t>)> {
    texts.map(|text| (text, parse(text, Mode::BuildKit))).collect()
}

/// The one instruction of each.
pub(super) fn read_all<'t>(parsed: &'t [(&'t str, Parsed<'t>)]) -> Vec<(&'t str, Trigger<'t>)> {
    parsed.iter().map(|(text, parsed)| (*text, read(parsed))).collect()
}

fn read<'t>(parsed: &'t Parsed<'t>) -> Trigger<'t> {
    let fault = |message: Option<&str>| ConvertError::Trigger(message.unwrap_or("invalid trigger").to_owned());
    if let Some(found) = parsed.diagnostics.iter().find(|found| found.is_error()) {
        return Err(fault(found.buildkit_message.as_deref()));
    }
    let [instruction] = parsed.dockerfile.instructions.as_slice() else { return Err(ConvertError::TriggerCount) };
    match read_command(instruction) {
        Ok(Some(command)) => Ok(command),
        Ok(None) => Err(fault(Some("*instructions.Stage is not a command type"))),
        Err(found) => Err(fault(found.buildkit_message.as_deref())),
    }
}
