//! `RUN`.

use std::borrow::Cow;

use super::flag_set::{FlagSet, Takes};
use super::read::{Faults, Result, cmdline, flags};
use super::{Device, FlagValue, Network, Run, Security};
use crate::ast::Instruction;
use crate::csv;
use crate::diagnostic::{Code, Diagnostic, suggest};
use crate::goformat::{parse_bool, quote, to_lower};
use crate::mount;

pub(super) fn read<'d>(instruction: &'d Instruction<'d>) -> Result<Run<'d>> {
    if instruction.flags.is_empty() {
        return Ok(run(instruction, &FlagSet::default(), Vec::new()));
    }
    let known =
        [("device", Takes::Values), ("mount", Takes::Values), ("network", Takes::Value), ("security", Takes::Value)];
    let flags = flags(instruction, &known)?;
    // The order of the checks is BuildKit's.
    let devices = flags.all("device").map(device).collect::<Result<_>>()?;
    flags.all("mount").try_for_each(mount)?;
    let network = flags.get("network").map_or(Ok(Network::Default), network)?;
    let security = flags.get("security").map_or(Ok(Security::Sandbox), security)?;
    Ok(Run { network, security, ..run(instruction, &flags, devices) })
}

fn run<'d>(instruction: &'d Instruction<'d>, flags: &FlagSet<'d>, devices: Vec<Device<'d>>) -> Run<'d> {
    Run {
        cmdline: cmdline(instruction),
        heredocs: &instruction.heredocs,
        mounts: flags.all("mount").collect(),
        network: Network::Default,
        security: Security::Sandbox,
        devices,
    }
}

/// What BuildKit checks before anything is expanded.
fn mount(flag: FlagValue<'_>) -> Result<()> {
    mount::check_at_parse(flag.value).map(drop).map_err(|error| {
        let message = error.to_string();
        Faults::from(Diagnostic::new(Code::InvalidMount, flag.span(), message.clone()).buildkit(message))
    })
}

fn network(flag: FlagValue<'_>) -> Result<Network> {
    match flag.value {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Err(invalid(flag, &["default", "none", "host"], format!("invalid network mode {}", quote(other)))),
    }
}

fn security(flag: FlagValue<'_>) -> Result<Security> {
    match flag.value {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => Err(invalid(flag, &["sandbox", "insecure"], format!("security {} is not valid", quote(other)))),
    }
}

fn invalid(flag: FlagValue<'_>, known: &[&str], buildkit: String) -> Faults {
    let name = flag.flag.value.split('=').next().unwrap_or_default();
    let message = format!("`{name}` does not take `{}`", flag.value);
    let found = Diagnostic::new(Code::InvalidFlagValue, flag.span(), message).buildkit(buildkit);
    let help = match suggest(flag.value, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it takes one of: {}", known.join(", ")),
    };
    Faults::from(found.help(help))
}

/// `name`, `name=NAME`, `required`, `required=BOOL`, separated by commas.
fn device<'d>(flag: FlagValue<'d>) -> Result<Device<'d>> {
    let fault = |message: String| {
        Faults::from(Diagnostic::new(Code::InvalidDevice, flag.span(), message.clone()).buildkit(message))
    };
    let fields = csv::fields(flag.value).map_err(|error| fault(format!("failed to parse csv devices: {error}")))?;
    let mut name = String::new();
    let mut required = false;
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (to_lower(key), Some(value)),
            None => (to_lower(&field), None),
        };
        match (key.as_str(), value) {
            ("required", None) => required = true,
            ("required", Some(value)) => {
                required = parse_bool(value).ok_or_else(|| fault(format!("invalid value for required: {value}")))?;
            }
            ("name", Some(_)) if !name.is_empty() => {
                return Err(fault(format!("device name already set to {name}")));
            }
            ("name", Some(value)) => name = value.to_owned(),
            (_, _) if name.is_empty() => name = field,
            (_, None) => return Err(fault(format!("invalid field '{field}' must be a key=value pair"))),
            (key, Some(_)) => return Err(fault(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    Ok(Device { flag: flag.flag, name: Cow::Owned(name), required })
}
