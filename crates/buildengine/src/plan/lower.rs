//! Operations of a Dockerfile to steps that can run: one step an instruction, one chain of changes from the base up.

use std::collections::BTreeMap;

use dockerfile::ast::Dockerfile;
use dockerfile::convert::{Conversion, Exec, ExecMount, ExecMountKind, FileAction, NetworkMode, Op, OpId, OpKind};
use dockerfile::mount;

use super::{Action, InlineFile, Network, Plan, Run, RunMount, Sharing, Step};
use crate::error::Error;

/// The plan of an accepted Dockerfile.
///
/// # Errors
/// An operation that a build without context and with one stage does not have (copies, secrets, privileges), with its line.
pub fn lower(dockerfile: &Dockerfile<'_>, conversion: &Conversion) -> Result<Plan, Error> {
    let base = conversion.base.clone().unwrap_or_else(|| "scratch".to_owned());
    let mut actions: BTreeMap<usize, Vec<Action>> = BTreeMap::new();
    for op in &conversion.ops {
        let mut made = Vec::new();
        match &op.kind {
            OpKind::Source(_) => {}
            OpKind::Exec(exec) => made.push(Action::Run(run(op, exec, &conversion.ops)?)),
            // What only a mount refers to is no change of the image: it is looked up from there.
            OpKind::File(file) if file.base.is_some() || is_root(&conversion.ops, op) => {
                for action in &file.actions {
                    made.push(change(op, action)?);
                }
            }
            OpKind::File(_) => {}
            OpKind::Merge { .. } => return Err(unsupported(op, "trees can't be laid over each other; use RUN")),
        }
        actions.entry(op.origin.instruction).or_default().extend(made);
    }
    let steps = dockerfile.instructions.iter().enumerate().map(|(index, instruction)| Step {
        line: instruction.start_line,
        text: instruction.original.clone().into_owned(),
        actions: actions.remove(&index).unwrap_or_default(),
    });
    Ok(Plan { base, steps: steps.collect(), config: conversion.config.clone(), author: conversion.author.clone() })
}

/// Whether a file operation without a base stands for the image itself (FROM scratch), not for a mount.
fn is_root(ops: &[Op], op: &Op) -> bool {
    let id = ops.iter().position(|other| std::ptr::eq(other, op));
    !ops.iter().any(|user| match &user.kind {
        OpKind::Exec(exec) => exec.mounts.iter().any(|mount| mount.input.is_some() && mount.input == id),
        _ => false,
    })
}

fn change(op: &Op, action: &FileAction) -> Result<Action, Error> {
    match action {
        FileAction::Mkdir { mkdir, owner, .. } => {
            Ok(Action::MakeDirectory { path: mkdir.clone(), user: owner.clone() })
        }
        FileAction::Copy(_) | FileAction::Mkfile { .. } => {
            Err(unsupported(op, "there is no build context to copy from; write the file with RUN <<EOF"))
        }
    }
}

fn run(op: &Op, exec: &Exec, ops: &[Op]) -> Result<Run, Error> {
    if exec.insecure {
        return Err(unsupported(op, "RUN --security=insecure is not possible here; leave it out"));
    }
    let (mut mounts, mut files) = (Vec::new(), Vec::new());
    for mount in &exec.mounts {
        match &mount.kind {
            ExecMountKind::Cache { cache_id, sharing } => mounts.push(cache(mount, cache_id, *sharing, ops)),
            ExecMountKind::Tmpfs { size } => {
                let size_bytes = u64::try_from(*size).ok().filter(|&size| size > 0);
                mounts.push(RunMount::Tmpfs { target: mount.dest.clone(), size_bytes });
            }
            ExecMountKind::Bind => files.extend(inline_files(op, mount, ops)?),
            ExecMountKind::Secret { .. } | ExecMountKind::Ssh { .. } => {
                return Err(unsupported(op, "secrets and agents are not handed to builds"));
            }
        }
    }
    if !exec.secret_env.is_empty() {
        return Err(unsupported(op, "secrets and agents are not handed to builds"));
    }
    Ok(Run {
        args: exec.args.clone(),
        env: exec.env.iter().map(str::to_owned).chain(exec.proxy.iter().cloned()).collect(),
        cwd: exec.cwd.clone(),
        user: exec.user.clone(),
        network: match exec.network {
            Some(NetworkMode::None) => Network::None,
            Some(NetworkMode::Host) => {
                return Err(unsupported(op, "RUN --network=host is not possible here; the network is the operator's"));
            }
            None => Network::Default,
        },
        mounts,
        files,
    })
}

fn file_actions(ops: &[Op], id: Option<OpId>) -> &[FileAction] {
    match id.and_then(|id| ops.get(id)).map(|op| &op.kind) {
        Some(OpKind::File(file)) => &file.actions,
        _ => &[],
    }
}

/// A cache mount; mode and owner of a fresh one are those of the directory that the operation makes for it.
fn cache(mount: &ExecMount, id: &str, sharing: mount::Sharing, ops: &[Op]) -> RunMount {
    let made = file_actions(ops, mount.input).iter().find_map(|action| match action {
        FileAction::Mkdir { mode, owner, .. } => Some((*mode, owner.as_str())),
        FileAction::Copy(_) | FileAction::Mkfile { .. } => None,
    });
    let (mode, owner) = made.unwrap_or((0o755, ""));
    let (uid, gid) = owner.split_once(':').unwrap_or((owner, "0"));
    RunMount::Cache {
        id: id.to_owned(),
        target: mount.dest.clone(),
        sharing: match sharing {
            mount::Sharing::Shared => Sharing::Shared,
            mount::Sharing::Private => Sharing::Private,
            mount::Sharing::Locked => Sharing::Locked,
        },
        read_only: mount.readonly,
        mode,
        uid: uid.parse().unwrap_or(0),
        gid: gid.parse().unwrap_or(0),
    }
}

/// The files of a heredoc, mounted where the command looks for them. The reference mounts the directory that holds them.
fn inline_files(op: &Op, mount: &ExecMount, ops: &[Op]) -> Result<Vec<InlineFile>, Error> {
    let below = |path: &str| Some(path.strip_prefix(&*mount.selector)?.trim_start_matches('/').to_owned());
    let made = file_actions(ops, mount.input).iter().filter_map(|action| match action {
        FileAction::Mkfile { mkfile, data, mode } => {
            let path = format!("{}/{}", mount.dest.trim_end_matches('/'), below(mkfile)?);
            Some(InlineFile { path, content: data.clone(), mode: *mode })
        }
        FileAction::Mkdir { .. } | FileAction::Copy(_) => None,
    });
    let made: Vec<InlineFile> = made.collect();
    if made.is_empty() {
        return Err(unsupported(
            op,
            "there is no build context and no other stage to mount; use a cache or tmpfs mount",
        ));
    }
    Ok(made)
}

fn unsupported(op: &Op, what: &str) -> Error {
    Error::Unsupported { line: op.origin.line, what: what.to_owned() }
}
