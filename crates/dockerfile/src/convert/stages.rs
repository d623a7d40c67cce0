//! The stages as a graph: which starts from which, which copies from which, and which are needed at all.

use std::collections::HashMap;

use super::context::{Context, Fault};
use super::error::ConvertError;
use super::op::{OpId, Source};
use super::state::{History, State};
use crate::ast::Instruction;
use crate::env::NoVariables;
use crate::goformat::to_lower;
use crate::instruction::{Command, CommandKind, Run, Stage};
use crate::mount::{Mount, check_at_parse};
use crate::platform::Platform;
use crate::reference::Reference;

/// The name that stands for an empty image.
pub(super) const SCRATCH: &str = "scratch";

/// A stage, or an image that only serves as a source of `COPY --from=` or a mount.
pub(super) struct Node<'d> {
    /// The stage; `None` for an image.
    pub(super) stage: Option<&'d Stage<'d>>,
    /// Name for messages.
    pub(super) name: String,
    /// What it starts from, expanded.
    pub(super) base_name: String,
    /// The normal form of that, once it is known to be a reference.
    pub(super) reference: Option<Reference>,
    /// The stage it starts from.
    pub(super) base: Option<usize>,
    /// What its instructions copy or mount from.
    pub(super) needs: Vec<usize>,
    /// Its instructions, triggers first.
    pub(super) steps: Vec<Step<'d>>,
    /// From `--platform`.
    pub(super) platform: Option<Platform>,
    /// Where to point when its image is wrong.
    pub(super) at: Option<&'d Instruction<'d>>,
    /// Its files when all its instructions are done; the inner `None` is an empty tree.
    pub(super) files: Option<Option<OpId>>,
    /// Its entries of the history, likewise.
    pub(super) history: Vec<History>,
    /// The rest of its state, for the stages that start from it.
    pub(super) state: Option<State<'d>>,
    /// How many stages, or the result, are still to be made from `state`.
    pub(super) users: usize,
    /// Its triggers were looked for.
    pub(super) triggered: bool,
}

/// An instruction and the nodes it takes files from.
pub(super) struct Step<'d> {
    pub(super) command: &'d Command<'d>,
    /// Of `COPY --from=`.
    pub(super) from: Option<usize>,
    /// Of the mounts, in order.
    pub(super) mounts: Vec<MountSource>,
    /// It is a trigger, and this is the `FROM` that pulled it.
    pub(super) trigger_of: Option<&'d Instruction<'d>>,
}

/// Where a mount takes its files from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MountSource {
    /// An empty directory, or the build context.
    Nothing,
    /// A stage or an image.
    Node(usize),
}

/// All nodes, in the order they were found: stages first.
#[derive(Default)]
pub(super) struct Stages<'d> {
    pub(super) nodes: Vec<Node<'d>>,
    by_name: HashMap<String, usize>,
}

impl<'d> Stages<'d> {
    /// Adds a node; it starts from an earlier stage if one has the name.
    pub(super) fn add(&mut self, mut node: Node<'d>) -> usize {
        let index = self.nodes.len();
        node.base = self.by_name.get(&node.base_name).copied();
        if let Some(stage) = node.stage.filter(|stage| !stage.name.is_empty()) {
            self.by_name.insert(to_lower(&stage.name), index);
        }
        self.nodes.push(node);
        index
    }

    pub(super) fn by_name(&self, name: &str) -> Option<usize> {
        self.by_name.get(&to_lower(name)).copied()
    }

    /// Finds what an instruction takes files from, adding images that are not stages.
    pub(super) fn step(
        &mut self,
        command: &'d Command<'d>,
        trigger_of: Option<&'d Instruction<'d>>,
        context: &mut Context<'_>,
    ) -> Result<Step<'d>, ConvertError> {
        let mut step = Step { command, from: None, mounts: Vec::new(), trigger_of };
        match &command.kind {
            CommandKind::Copy(copy) if !copy.from.is_empty() => {
                step.from = Some(self.source_of_copy(copy.from, command, trigger_of, context)?);
            }
            CommandKind::Run(run) => step.mounts = self.sources_of_mounts(run),
            _ => {}
        }
        Ok(step)
    }

    fn source_of_copy(
        &mut self,
        from: &str,
        command: &'d Command<'d>,
        trigger_of: Option<&'d Instruction<'d>>,
        context: &mut Context<'_>,
    ) -> Result<usize, ConvertError> {
        let expanded = context.lexer.expand(from, &NoVariables, &mut context.budget)?;
        if expanded.text != from {
            return Err(ConvertError::VariableInFrom);
        }
        if let Ok(index) = from.parse::<i64>() {
            let found = usize::try_from(index).ok().filter(|index| *index < self.nodes.len());
            return found.ok_or(ConvertError::StageIndex(index));
        }
        Ok(match self.by_name(from) {
            Some(index) => index,
            None => self.add(Node::image(from, Some(trigger_of.unwrap_or(command.instruction)))),
        })
    }

    fn sources_of_mounts(&mut self, run: &Run<'_>) -> Vec<MountSource> {
        let mut sources = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            // A fault was already found when the instruction was read.
            let from = check_at_parse(mount.value).unwrap_or_default();
            let name = if from.is_empty() { SCRATCH } else { &from };
            sources.push(match self.by_name(name) {
                Some(index) => MountSource::Node(index),
                None if name == SCRATCH => MountSource::Nothing,
                None => MountSource::Node(self.add(Node::image(name, None))),
            });
        }
        sources
    }

    /// Refuses stages that need each other by `COPY` or mounts.
    pub(super) fn check_circles(&self) -> Result<(), ConvertError> {
        let mut done = vec![false; self.nodes.len()];
        let mut on_path = vec![false; self.nodes.len()];
        for (start, node) in self.nodes.iter().enumerate() {
            // Each entry is a node and how many of its needs were followed.
            let mut path: Vec<(usize, usize)> = Vec::new();
            if !std::mem::replace(&mut done[start], true) {
                on_path[start] = true;
                path.push((start, 0));
            }
            while let Some((index, followed)) = path.last_mut() {
                let Some(&next) = self.nodes[*index].needs.get(*followed) else {
                    on_path[*index] = false;
                    path.pop();
                    continue;
                };
                *followed += 1;
                if on_path[next] {
                    return Err(ConvertError::Circular(node.name.clone()));
                }
                if !std::mem::replace(&mut done[next], true) {
                    on_path[next] = true;
                    path.push((next, 0));
                }
            }
        }
        Ok(())
    }

    /// The nodes that `target` is made from, itself included.
    pub(super) fn reachable(&self, target: usize) -> Vec<bool> {
        let mut seen = vec![false; self.nodes.len()];
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if !std::mem::replace(&mut seen[index], true) {
                let node = &self.nodes[index];
                open.extend(node.base);
                open.extend(&node.needs);
            }
        }
        seen
    }

    /// Counts who will start from each node, so that the last one can have its state without a copy.
    pub(super) fn count_users(&mut self, target: usize, reachable: &[bool]) {
        for index in (0..self.nodes.len()).filter(|index| reachable.get(*index) == Some(&true)) {
            if let Some(base) = self.nodes[index].base {
                self.nodes[base].users += 1;
            }
        }
        self.nodes[target].users += 1;
    }

    /// The state of a finished node: the thing itself for its last user, a copy for the others.
    pub(super) fn take_state(&mut self, index: usize) -> Option<State<'d>> {
        let node = &mut self.nodes[index];
        node.users = node.users.saturating_sub(1);
        if node.users == 0 { node.state.take() } else { node.state.clone() }
    }

    /// Notes what a step takes files from, as needs of its node; whether there were any.
    pub(super) fn push_needs(&mut self, index: usize, step: &Step<'d>) -> bool {
        let mounted = step.mounts.iter().filter_map(|source| match source {
            MountSource::Node(node) => Some(*node),
            MountSource::Nothing => None,
        });
        let before = self.nodes[index].needs.len();
        self.nodes[index].needs.extend(step.from.into_iter().chain(mounted));
        self.nodes[index].needs.len() > before
    }

    /// The files a `COPY --from=` of stage `index` copies.
    pub(super) fn copied(&self, from: usize, name: &str, index: usize) -> Result<Option<OpId>, ConvertError> {
        match self.nodes[from].files {
            Some(files) => Ok(files),
            None => {
                let stage = self.nodes[index].name.clone();
                Err(ConvertError::CopyFromLater { from: name.to_owned(), stage })
            }
        }
    }

    /// The files a mount shows.
    pub(super) fn mounted(&self, source: MountSource, mount: &Mount) -> Result<Option<OpId>, ConvertError> {
        let MountSource::Node(index) = source else { return Ok(None) };
        match self.nodes[index].files {
            Some(files) => Ok(files),
            None => Err(ConvertError::MountFromLater { from: mount.from.clone(), target: mount.target.clone() }),
        }
    }
}

impl<'d> Node<'d> {
    /// An image that files are taken from.
    fn image(name: &str, at: Option<&'d Instruction<'d>>) -> Self {
        Node {
            stage: None,
            name: String::new(),
            base_name: name.to_owned(),
            reference: None,
            base: None,
            needs: Vec::new(),
            steps: Vec::new(),
            platform: None,
            at,
            files: None,
            history: Vec::new(),
            state: None,
            users: 0,
            triggered: true,
        }
    }

    /// A stage, with its base and platform expanded.
    pub(super) fn stage(stage: &'d Stage<'d>, name: String, base_name: String, platform: Option<Platform>) -> Self {
        let image = Node::image("", Some(stage.from));
        Node { stage: Some(stage), name, base_name, platform, triggered: false, ..image }
    }

    /// Makes sure that the base is an image reference.
    pub(super) fn resolve(&mut self) -> Result<(), Fault> {
        if self.base.is_some() || self.base_name == SCRATCH || self.reference.is_some() {
            return Ok(());
        }
        match Reference::parse(&self.base_name) {
            Ok(reference) => self.reference = Some(reference),
            Err(cause) => {
                let error = ConvertError::Reference { name: self.base_name.clone(), cause };
                let span = self.stage.map(|stage| stage.base.span).or(self.at.map(Instruction::head_span));
                return Err(Fault { error, span });
            }
        }
        Ok(())
    }

    /// The image as a source of files.
    pub(super) fn image_source(&self, platform: &Platform) -> Option<Source> {
        let reference = self.reference.as_ref()?;
        let id = ["docker-image://", &reference.normalized()].concat();
        Some(Source { platform: Some(platform.clone()), ..Source::named(id) })
    }
}
