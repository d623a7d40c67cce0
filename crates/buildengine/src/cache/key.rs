//! The key of a step: one table of every input. What is not in the table must not change the result.

use sha2::{Digest, Sha256};

use crate::plan::{Network, Run, RunMount};

/// Raised whenever the engine runs a step differently, so that old results are not found.
const ENGINE_VERSION: u64 = 1;

/// The key of a step: 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(String);

impl Key {
    /// The digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of a RUN step on the layers `parents` (lowest first).
pub(crate) fn of_run(parents: &[String], run: &Run, epoch: Option<i64>) -> Key {
    let mut hash = Input::new("run");
    hash.list("parents", parents);
    hash.list("args", &run.args);
    hash.list("env", &run.env);
    hash.text("cwd", &run.cwd);
    hash.text("user", &run.user);
    hash.text(
        "network",
        match run.network {
            Network::Host => "host",
            Network::None => "none",
        },
    );
    for mount in &run.mounts {
        match mount {
            // What a cache directory holds is by definition not allowed to matter.
            RunMount::Cache { id, target, .. } => hash.list("cache", &[id.clone(), target.clone()]),
            RunMount::Tmpfs { target, size_bytes } => hash.list("tmpfs", &[target.clone(), format!("{size_bytes:?}")]),
        }
    }
    for file in &run.files {
        hash.text("file", &file.path);
        hash.text("content", &file.content);
    }
    hash.text("epoch", &format!("{epoch:?}"));
    hash.finish()
}

/// The key of making the directory `path` for `user` on the layers `parents` (lowest first).
pub(crate) fn of_directory(parents: &[String], path: &str, user: &str, epoch: Option<i64>) -> Key {
    let mut hash = Input::new("directory");
    hash.list("parents", parents);
    hash.text("path", path);
    hash.text("user", user);
    hash.text("epoch", &format!("{epoch:?}"));
    hash.finish()
}

/// A SHA-256 over labelled, length-prefixed parts: no two lists of inputs give the same bytes.
struct Input(Sha256);

impl Input {
    fn new(kind: &str) -> Self {
        let mut input = Self(Sha256::new());
        input.text("drydock step", kind);
        input.text("version", &ENGINE_VERSION.to_string());
        input.text("architecture", std::env::consts::ARCH);
        input
    }

    fn text(&mut self, label: &str, value: &str) {
        for part in [label, value] {
            self.length(part.len());
            self.0.update(part.as_bytes());
        }
    }

    fn list(&mut self, label: &str, values: &[String]) {
        self.text(label, "");
        self.length(values.len());
        for value in values {
            self.length(value.len());
            self.0.update(value.as_bytes());
        }
    }

    fn length(&mut self, len: usize) {
        self.0.update(u64::try_from(len).expect("usize fits in u64").to_le_bytes());
    }

    fn finish(self) -> Key {
        Key(self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::InlineFile;

    fn run() -> Run {
        Run {
            args: vec!["a".to_owned(), "bc".to_owned()],
            env: vec!["X=1".to_owned()],
            cwd: "/".to_owned(),
            user: String::new(),
            network: Network::Host,
            mounts: vec![],
            files: vec![],
        }
    }

    #[test]
    fn every_input_changes_the_key() {
        let parents = vec!["p".to_owned()];
        let base = of_run(&parents, &run(), None);
        assert_eq!(base, of_run(&parents, &run(), None));
        let mount = RunMount::Tmpfs { target: "/t".to_owned(), size_bytes: None };
        let file = InlineFile { path: "/f".to_owned(), content: String::new(), mode: 0o755 };
        let variants: Vec<Run> = vec![
            Run { args: vec!["ab".to_owned(), "c".to_owned()], ..run() },
            Run { args: vec!["a".to_owned(), "bc".to_owned(), String::new()], ..run() },
            Run { env: vec![], ..run() },
            Run { env: vec!["X=1".to_owned(), "Y=2".to_owned()], ..run() },
            Run { cwd: "/x".to_owned(), ..run() },
            Run { user: "app".to_owned(), ..run() },
            Run { network: Network::None, ..run() },
            Run { mounts: vec![mount], ..run() },
            Run { files: vec![file], ..run() },
        ];
        let mut keys: Vec<Key> = variants.iter().map(|variant| of_run(&parents, variant, None)).collect();
        keys.push(of_run(&[], &run(), None));
        keys.push(of_run(&["p".to_owned(), "q".to_owned()], &run(), None));
        keys.push(of_run(&parents, &run(), Some(1)));
        keys.push(base);
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
