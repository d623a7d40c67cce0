//! The key of a step: one table of every input. What is not in the table must not change the result.
//!
//! Limits are not in it: they can make a step fail, and failures are not kept, but a step that went well under one limit goes
//! the same way under another.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::plan::{Network, Run, RunMount};
use crate::sandbox::NetworkMode;

/// Raised whenever the engine runs a step differently, so that old results are not found.
const ENGINE_VERSION: u64 = 2;
/// How many inputs are remembered by name beside a result, to say later what changed.
const REMEMBERED_MAX: usize = 256;
/// Hexadecimal digits of an input's digest that are remembered: enough to see that it changed.
const REMEMBERED_DIGITS: usize = 16;

/// The key of a step: 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(String);

impl Key {
    /// The digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything that may change the result of a step, each part under a name that a person understands.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    kind: &'static str,
    fields: Vec<(String, Vec<String>)>,
}

impl Inputs {
    /// Those of a RUN step of `owner` on the layers `parents` (lowest first).
    ///
    /// `network` is the mode that commands get which ask for none; what may be reached beyond it by way of exception is, as
    /// the outside is, not the command's to count on.
    pub(crate) fn of_run(owner: &str, parents: &[String], run: &Run, network: NetworkMode, epoch: Option<i64>) -> Self {
        let mut inputs = Self::new("run", owner, parents);
        inputs.add("the command", &run.args);
        for variable in &run.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            inputs.add(&format!("the variable {name}"), &[value.to_owned()]);
        }
        inputs.add("the working directory", std::slice::from_ref(&run.cwd));
        inputs.add("the user", std::slice::from_ref(&run.user));
        let network = match run.network {
            Network::Default => network,
            Network::None => NetworkMode::None,
        };
        inputs.add("the network", &[network.name().to_owned()]);
        let mounts: Vec<String> = run.mounts.iter().flat_map(mount).collect();
        inputs.add("the mounts", &mounts);
        let files = run.files.iter();
        let files: Vec<_> =
            files.flat_map(|file| [file.path.clone(), file.content.clone(), file.mode.to_string()]).collect();
        inputs.add("the text of the heredoc", &files);
        inputs.add("the epoch", &[format!("{epoch:?}")]);
        inputs
    }

    /// Those of making the directory `path` for `user` on the layers `parents` (lowest first).
    pub(crate) fn of_directory(parents: &[String], path: &str, user: &str, epoch: Option<i64>) -> Self {
        let mut inputs = Self::new("directory", "", parents);
        inputs.add("the path", &[path.to_owned()]);
        inputs.add("the user", &[user.to_owned()]);
        inputs.add("the epoch", &[format!("{epoch:?}")]);
        inputs
    }

    fn new(kind: &'static str, owner: &str, parents: &[String]) -> Self {
        let mut inputs = Self { kind, fields: Vec::new() };
        inputs.add("the version of the builder", &[ENGINE_VERSION.to_string()]);
        inputs.add("the architecture", &[std::env::consts::ARCH.to_owned()]);
        inputs.add("the owner", &[owner.to_owned()]);
        inputs.add("the layers below", parents);
        inputs
    }

    fn add(&mut self, name: &str, values: &[String]) {
        self.fields.push((name.to_owned(), values.to_vec()));
    }

    /// A SHA-256 over all of them, labelled and length-prefixed: no two lists of inputs give the same bytes.
    pub(crate) fn key(&self) -> Key {
        let mut hash = Sha256::new();
        text(&mut hash, self.kind);
        for (name, values) in &self.fields {
            field(&mut hash, name, values);
        }
        Key(hex(hash))
    }

    /// A digest of each, to compare with those of another time. Values are not in it: they may be secrets.
    pub(crate) fn remembered(&self) -> BTreeMap<String, String> {
        let digests = self.fields.iter().take(REMEMBERED_MAX).map(|(name, values)| {
            let mut hash = Sha256::new();
            field(&mut hash, name, values);
            let mut digest = hex(hash);
            digest.truncate(REMEMBERED_DIGITS);
            (name.clone(), digest)
        });
        digests.collect()
    }
}

/// What a cache directory holds is by definition not allowed to matter; which one it is and where it appears does.
fn mount(mount: &RunMount) -> Vec<String> {
    match mount {
        RunMount::Cache { id, target, read_only, .. } => {
            vec!["cache".to_owned(), id.clone(), target.clone(), read_only.to_string()]
        }
        RunMount::Tmpfs { target, size_bytes } => {
            vec!["tmpfs".to_owned(), target.clone(), format!("{size_bytes:?}"), String::new()]
        }
    }
}

fn field(hash: &mut Sha256, name: &str, values: &[String]) {
    text(hash, name);
    length(hash, values.len());
    values.iter().for_each(|value| text(hash, value));
}

fn text(hash: &mut Sha256, text: &str) {
    length(hash, text.len());
    hash.update(text.as_bytes());
}

fn length(hash: &mut Sha256, len: usize) {
    hash.update(u64::try_from(len).expect("usize fits in u64").to_le_bytes());
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A SHA-256 over length-prefixed texts, in hexadecimal.
pub(crate) fn chain(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    texts.iter().for_each(|one| text(&mut hash, one));
    hex(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{InlineFile, Network};

    fn run() -> Run {
        Run {
            args: vec!["a".to_owned(), "bc".to_owned()],
            env: vec!["X=1".to_owned()],
            cwd: "/".to_owned(),
            user: String::new(),
            network: Network::default(),
            mounts: vec![],
            files: vec![],
        }
    }

    #[test]
    fn every_input_changes_the_key_and_is_named() {
        let parents = vec!["p".to_owned()];
        let of = |run: &Run| Inputs::of_run("", &parents, run, NetworkMode::Egress, None);
        let base = of(&run());
        assert_eq!(base.key(), of(&run()).key());
        let tmpfs = RunMount::Tmpfs { target: "/t".to_owned(), size_bytes: None };
        let file = |mode| InlineFile { path: "/f".to_owned(), content: String::new(), mode };
        let variants: Vec<(&str, Run)> = vec![
            ("the command", Run { args: vec!["ab".to_owned(), "c".to_owned()], ..run() }),
            ("the command", Run { args: vec!["a".to_owned(), "bc".to_owned(), String::new()], ..run() }),
            ("the variable X", Run { env: vec![], ..run() }),
            ("the variable X", Run { env: vec!["X=2".to_owned()], ..run() }),
            ("the variable Y", Run { env: vec!["X=1".to_owned(), "Y=2".to_owned()], ..run() }),
            ("the working directory", Run { cwd: "/x".to_owned(), ..run() }),
            ("the user", Run { user: "app".to_owned(), ..run() }),
            ("the network", Run { network: Network::None, ..run() }),
            ("the mounts", Run { mounts: vec![tmpfs], ..run() }),
            ("the text of the heredoc", Run { files: vec![file(0o755)], ..run() }),
            ("the text of the heredoc", Run { files: vec![file(0o700)], ..run() }),
        ];
        let mut keys = vec![base.key()];
        for (name, variant) in variants {
            let inputs = of(&variant);
            let (old, new) = (base.remembered(), inputs.remembered());
            assert_ne!(old.get(name), new.get(name), "{name}");
            keys.push(inputs.key());
        }
        keys.push(Inputs::of_run("", &[], &run(), NetworkMode::Egress, None).key());
        keys.push(Inputs::of_run("", &["p".to_owned(), "q".to_owned()], &run(), NetworkMode::Egress, None).key());
        keys.push(Inputs::of_run("", &parents, &run(), NetworkMode::Egress, Some(1)).key());
        keys.push(Inputs::of_run("", &parents, &run(), NetworkMode::Host, None).key());
        keys.push(Inputs::of_run("somebody", &parents, &run(), NetworkMode::Egress, None).key());
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn no_value_is_remembered() {
        let secret = Run { env: vec!["TOKEN=hunter2hunter2".to_owned()], ..run() };
        let remembered = format!("{:?}", Inputs::of_run("", &[], &secret, NetworkMode::Egress, None).remembered());
        assert!(remembered.contains("TOKEN") && !remembered.contains("hunter2"), "{remembered}");
    }
}
