//! `HEALTHCHECK`.

use super::flag_set::Takes;
use super::read::{Faults, Result, flags, missing_argument};
use super::{CmdLine, FlagValue, Healthcheck};
use crate::ast::Instruction;
use crate::diagnostic::{Code, Diagnostic};
use crate::duration::{Nanoseconds, parse_duration};
use crate::goformat::{quote, to_upper};
use crate::span::Text;

const MILLISECOND: Nanoseconds = 1_000_000;

pub(super) fn read<'d>(instruction: &'d Instruction<'d>) -> Result<Healthcheck<'d>> {
    let Some((kind, command)) = instruction.args.split_first() else {
        return Err(Faults::from(missing_argument(instruction)));
    };
    let upper = to_upper(&kind.value);
    if upper == "NONE" {
        // BuildKit never looks at the flags here.
        return none(command);
    }
    let durations = ["interval", "timeout", "start-period", "start-interval"];
    let mut known: Vec<_> = durations.iter().map(|name| (*name, Takes::Value)).collect();
    known.push(("retries", Takes::Value));
    let flags = flags(instruction, &known)?;
    if upper != "CMD" {
        return Err(Faults::from(unknown_kind(kind, &upper)));
    }
    if command.is_empty() {
        let found = Diagnostic::new(Code::InvalidHealthcheck, kind.span, "there is no command after `CMD`");
        return Err(Faults::from(found.buildkit("Missing command after HEALTHCHECK CMD")));
    }
    let duration = |name: &str| flags.get(name).map_or(Ok(0), |flag| duration(flag, name));
    Ok(Healthcheck::Cmd {
        cmdline: CmdLine { args: command, shell_form: !instruction.json },
        interval_ns: duration("interval")?,
        timeout_ns: duration("timeout")?,
        start_period_ns: duration("start-period")?,
        start_interval_ns: duration("start-interval")?,
        retries: flags.get("retries").map_or(Ok(0), retries)?,
    })
}

fn none<'d>(rest: &[Text<'_>]) -> Result<Healthcheck<'d>> {
    let Some(first) = rest.first() else { return Ok(Healthcheck::None) };
    let span = rest.last().map_or(first.span, |last| first.span.to(last.span));
    let found = Diagnostic::new(Code::InvalidHealthcheck, span, "nothing may follow `HEALTHCHECK NONE`");
    Err(Faults::from(found.buildkit("HEALTHCHECK NONE takes no arguments")))
}

fn unknown_kind(kind: &Text<'_>, upper: &str) -> Diagnostic {
    let message = format!("`HEALTHCHECK` is followed by `CMD` or `NONE`, not `{}`", kind.value);
    Diagnostic::new(Code::InvalidHealthcheck, kind.span, message)
        .help("write `HEALTHCHECK CMD` before the command; flags come before the `CMD`")
        .buildkit(format!("Unknown type {} in HEALTHCHECK (try CMD)", quote(upper)))
}

fn duration(flag: FlagValue<'_>, name: &str) -> Result<Nanoseconds> {
    if flag.value.is_empty() {
        return Ok(0);
    }
    let fault = |message: String, buildkit: String| {
        Diagnostic::new(Code::InvalidDuration, flag.span(), message).buildkit(buildkit)
    };
    let value = parse_duration(flag.value).map_err(|error| {
        let found = fault(format!("`{}` is no duration", flag.value), error.to_string());
        if flag.value.bytes().all(|byte| byte.is_ascii_digit()) {
            let seconds = format!("{}s", flag.value);
            let help = format!("add a unit: `--{name}={seconds}` for seconds");
            return Faults::from(found.help(help).fix(flag.span(), seconds));
        }
        Faults::from(found.help("write numbers with units, such as `30s` or `1m30s`"))
    })?;
    if value != 0 && value < MILLISECOND {
        let buildkit = format!("Interval {} cannot be less than 1ms", quote(name));
        return Err(Faults::from(fault(format!("`--{name}` cannot be less than 1ms"), buildkit)));
    }
    Ok(value)
}

/// Go's `ParseInt(value, 10, 32)`, then not below zero.
fn retries(flag: FlagValue<'_>) -> Result<u32> {
    let value = flag.value;
    if value.is_empty() {
        return Ok(0);
    }
    let fault = |buildkit: String| {
        let message = format!("`--retries` takes a whole number, not `{value}`");
        Faults::from(Diagnostic::new(Code::InvalidRetries, flag.span(), message).buildkit(buildkit))
    };
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let parse_error = |why: &str| fault(format!("strconv.ParseInt: parsing {}: {why}", quote(value)));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(parse_error("invalid syntax"));
    }
    let number: i32 = value.parse().map_err(|_| parse_error("value out of range"))?;
    u32::try_from(number).map_err(|_| fault(format!("--retries cannot be negative ({number})")))
}
