//! `COPY` and `ADD`.

use std::borrow::Cow;

use super::flag_set::{FlagSet, Takes};
use super::read::{Faults, Result, TRANSFER_FLAGS, end_of, flags};
use super::{Add, Copy, InlineFile, Transfer};
use crate::ast::{Instruction, Keyword};
use crate::diagnostic::{Code, Diagnostic};
use crate::heredoc::{self, HeredocWord};
use crate::span::Text;

pub(super) fn copy<'d>(instruction: &'d Instruction<'d>) -> Result<Copy<'d>> {
    at_least_two(instruction)?;
    let known = [&TRANSFER_FLAGS[..], &[("from", Takes::Value), ("parents", Takes::Bool)]].concat();
    let flags = flags(instruction, &known)?;
    Ok(Copy {
        transfer: transfer(instruction, &flags)?,
        from: flags.value("from"),
        parents: flags.switch("parents").unwrap_or(false),
    })
}

pub(super) fn add<'d>(instruction: &'d Instruction<'d>) -> Result<Add<'d>> {
    at_least_two(instruction)?;
    let own = [("keep-git-dir", Takes::Bool), ("checksum", Takes::Value), ("unpack", Takes::Bool)];
    let flags = flags(instruction, &[&TRANSFER_FLAGS[..], &own].concat())?;
    Ok(Add {
        transfer: transfer(instruction, &flags)?,
        checksum: flags.value("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    })
}

fn at_least_two(instruction: &Instruction<'_>) -> Result<()> {
    if instruction.args.len() >= 2 {
        return Ok(());
    }
    let name = instruction.kind.map_or("", Keyword::name);
    let span = instruction.args.first().map_or(end_of(instruction), |only| only.span);
    Err(Faults::from(
        Diagnostic::new(Code::MissingArgument, span, format!("`{name}` needs a source and a destination"))
            .help(format!("write `{name} SOURCE DESTINATION`"))
            .buildkit(format!(
                "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
            )),
    ))
}

fn transfer<'d>(instruction: &'d Instruction<'d>, flags: &FlagSet<'d>) -> Result<Transfer<'d>> {
    let [args @ .., dest] = instruction.args.as_slice() else { return Err(Faults::from(no_destination(instruction))) };
    if heredoc_word(dest).is_some() {
        let name = instruction.kind.map_or("", Keyword::name);
        let message = format!("the destination of `{name}` cannot be a heredoc");
        let found = Diagnostic::new(Code::HeredocDestination, dest.span, message);
        let help = format!("put the path last: `{name} <<EOF /path`");
        return Err(Faults::from(
            found.help(help).buildkit(format!("{name} cannot accept a heredoc as a destination")),
        ));
    }
    let mut sources = Vec::with_capacity(args.len());
    let mut contents = Vec::new();
    for source in args {
        match heredoc_word(source) {
            Some(word) => contents.push(inline_file(instruction, word)),
            None => sources.push(source),
        }
    }
    Ok(Transfer {
        sources,
        contents,
        dest,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        exclude: flags.all("exclude").map(|flag| flag.value).collect(),
    })
}

fn no_destination(instruction: &Instruction<'_>) -> Diagnostic {
    Diagnostic::new(Code::MissingArgument, end_of(instruction), "there is no destination")
}

/// A name that cannot be lexed is no heredoc here.
fn heredoc_word(text: &Text<'_>) -> Option<HeredocWord> {
    if text.value.contains("<<") { heredoc::parse_word(&text.value).ok().flatten() } else { None }
}

/// The heredoc of that name; of several with one name, the last. An argument that only looks like a heredoc has no content.
fn inline_file<'d>(instruction: &'d Instruction<'d>, word: HeredocWord) -> InlineFile<'d> {
    let content = instruction.heredocs.iter().rev().find(|heredoc| heredoc.name == word.name);
    let content = content.map_or("", |heredoc| heredoc.content);
    let data = if word.chomp { Cow::Owned(heredoc::chomp(content)) } else { Cow::Borrowed(content) };
    InlineFile { path: Cow::Owned(word.name), data, expand: word.expand }
}
