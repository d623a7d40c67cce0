//! `COPY` and `ADD`.

use super::context::{Context, Fault};
use super::error::ConvertError;
use super::op::{CopyAction, FileAction, FileOp, OpId, OpKind, Origin, Source};
use super::remote::{self, GitRepo, Remote};
use super::state::State;
use super::{chmod, state::normal_workdir};
use crate::goformat::{clean_path, join_path};
use crate::instruction::{Command, Transfer};
use crate::reference::check_digest;
use crate::rules::copy_ignored_file;
use crate::span::{Span, Text};

/// Which of the two it is, and what the other does not have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb<'v> {
    /// `COPY`.
    Copy {
        /// `--parents`.
        parents: bool,
    },
    /// `ADD`.
    Add {
        /// `--checksum`, unexpanded.
        checksum: &'v str,
        /// `--keep-git-dir`.
        keep_git_dir: Option<bool>,
        /// `--unpack`.
        unpack: Option<bool>,
    },
}

/// Everything expanded.
struct Expanded<'t> {
    chown: String,
    chmod: String,
    checksum: String,
    sources: Vec<(String, &'t Text<'t>)>,
    dest: String,
    /// Name and content of the heredocs.
    files: Vec<(String, String)>,
}

impl Context<'_> {
    /// `COPY` and `ADD`. `from` is where `COPY --from=` copies from: `Ok(None)` is the build context, `Ok(Some(None))` an
    /// empty stage.
    pub(super) fn transfer(
        &mut self,
        state: &mut State<'_>,
        command: &Command<'_>,
        transfer: &Transfer<'_>,
        verb: Verb<'_>,
        from: Result<Option<Option<OpId>>, ConvertError>,
        origin: Origin,
    ) -> Result<(), Fault> {
        let mut words = self.expand_transfer(state, command, transfer, verb)?;
        let from = from?;
        if !words.chmod.is_empty() {
            chmod::check(&words.chmod)?;
        }
        check_checksum(&words)?;
        let message = history_line(&words, verb);
        let template = CopyAction {
            dest: destination(&state.cwd, &words.dest),
            owner: std::mem::take(&mut words.chown),
            chmod: words.chmod.clone(),
            exclude: transfer.exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..CopyAction::default()
        };
        let mut actions = Vec::new();
        for (source, text) in &words.sources {
            if from.is_none() {
                self.lint_ignored(source, text.span, verb)?;
            }
            let action = self.copy_source(&words, source, verb, from, &template, origin);
            actions.push(FileAction::Copy(action.map_err(|error| Fault::at(error, text.span))?));
        }
        for (name, data) in words.files {
            actions.push(FileAction::Copy(self.copy_inline(&name, data, &template, origin)?));
        }
        self.add_file_op(state, actions, transfer.link && template.chmod.is_empty(), origin)?;
        Ok(self.commit(state, message, true)?)
    }

    fn expand_transfer<'t>(
        &mut self,
        state: &State<'_>,
        command: &Command<'_>,
        transfer: &'t Transfer<'t>,
        verb: Verb<'_>,
    ) -> Result<Expanded<'t>, Fault> {
        let chown = self.expand(state, command, transfer.chown)?.into_owned();
        let chmod = self.expand(state, command, transfer.chmod)?.into_owned();
        let checksum = match verb {
            Verb::Add { checksum, .. } => self.expand(state, command, checksum)?.into_owned(),
            Verb::Copy { .. } => String::new(),
        };
        let mut sources = Vec::with_capacity(transfer.sources.len());
        for source in &transfer.sources {
            sources.push((self.expand_text(state, command, source)?.into_owned(), *source));
        }
        let dest = self.expand_text(state, command, transfer.dest)?.into_owned();
        let mut files = Vec::with_capacity(transfer.contents.len());
        for file in &transfer.contents {
            let data = match file.expand {
                true => self.expand_heredoc(state, command, &file.data)?.into_owned(),
                false => file.data.clone().into_owned(),
            };
            files.push((file.path.clone().into_owned(), data));
        }
        Ok(Expanded { chown, chmod, checksum, sources, dest, files })
    }

    /// Reports a source that `.dockerignore` keeps out of the build context.
    fn lint_ignored(&mut self, source: &str, span: Span, verb: Verb<'_>) -> Result<(), ConvertError> {
        let Some(ignore) = &self.options.dockerignore else { return Ok(()) };
        if !matches!(remote::classify(source), Ok(Remote::Local)) {
            return Ok(());
        }
        let verb = if matches!(verb, Verb::Add { .. }) { "Add" } else { "Copy" };
        Ok(copy_ignored_file::check(verb, source, span, ignore, &mut self.budget, &mut self.lints)?)
    }

    fn copy_source(
        &mut self,
        words: &Expanded<'_>,
        source: &str,
        verb: Verb<'_>,
        from: Option<Option<OpId>>,
        template: &CopyAction,
        origin: Origin,
    ) -> Result<CopyAction, ConvertError> {
        match (remote::classify(source)?, verb) {
            (Remote::Git(_), Verb::Copy { .. }) => Err(ConvertError::CopyGit),
            (Remote::Http { .. }, Verb::Copy { .. }) => Err(ConvertError::CopyUrl),
            (Remote::Git(repo), Verb::Add { keep_git_dir, .. }) => {
                let op = self.git(repo, &words.checksum, keep_git_dir, origin)?;
                Ok(CopyAction { input: Some(op), source: "/".to_owned(), ..template.clone() })
            }
            (Remote::Http { filename }, Verb::Add { unpack, .. }) => {
                if !words.checksum.is_empty() {
                    check_digest(&words.checksum).map_err(ConvertError::Checksum)?;
                }
                let checksum = words.checksum.clone();
                let path = join_path(&["/", &filename]);
                let op = self.source(Source { checksum, filename, ..Source::named(source) }, origin)?;
                let unpack = unpack.unwrap_or(false);
                Ok(CopyAction { input: Some(op), source: path, unpack, ..template.clone() })
            }
            (Remote::Local, Verb::Add { unpack, .. }) => {
                let input = Some(self.build_context(origin)?);
                let unpack = unpack.unwrap_or(true);
                Ok(CopyAction { input, unpack, ..from_tree(source, false, template) })
            }
            (Remote::Local, Verb::Copy { parents }) => {
                let input = match from {
                    Some(stage) => stage,
                    None => Some(self.build_context(origin)?),
                };
                Ok(CopyAction { input, ..from_tree(source, parents, template) })
            }
        }
    }

    fn git(
        &mut self,
        repo: GitRepo<'_>,
        checksum: &str,
        keep_git_dir: Option<bool>,
        origin: Origin,
    ) -> Result<OpId, ConvertError> {
        if matches!((keep_git_dir, repo.keep_git_dir), (Some(flag), Some(url)) if flag != url) {
            return Err(ConvertError::KeepGitDir);
        }
        if !checksum.is_empty() && !repo.checksum.is_empty() && checksum != repo.checksum {
            return Err(ConvertError::ChecksumMismatch { flag: checksum.to_owned(), url: repo.checksum });
        }
        let id = repo.id();
        let checksum = if repo.checksum.is_empty() { checksum.to_owned() } else { repo.checksum };
        let keep_git_dir = repo.keep_git_dir.or(keep_git_dir).unwrap_or(false);
        self.source(Source { checksum, keep_git_dir, ..Source::named(id) }, origin)
    }

    /// A heredoc: a file of its own in an empty tree, copied from there.
    fn copy_inline(
        &mut self,
        name: &str,
        data: String,
        template: &CopyAction,
        origin: Origin,
    ) -> Result<CopyAction, ConvertError> {
        let path = join_path(&["/", name]);
        let file = FileAction::Mkfile { mkfile: path.clone(), data, mode: 0o644 };
        let op = OpKind::File(FileOp { base: None, actions: vec![file] });
        let input = Some(self.graph.add(op, origin, &mut self.budget)?);
        Ok(CopyAction { input, source: path, ..template.clone() })
    }

    /// With `--link` the files are copied into a tree of their own, which is then laid over the stage's.
    fn add_file_op(
        &mut self,
        state: &mut State<'_>,
        actions: Vec<FileAction>,
        link: bool,
        origin: Origin,
    ) -> Result<(), ConvertError> {
        let base = if link { None } else { state.root };
        let copied = self.graph.add(OpKind::File(FileOp { base, actions }), origin, &mut self.budget)?;
        state.root = Some(match (link, state.root) {
            (true, Some(below)) => {
                self.graph.add(OpKind::Merge { inputs: vec![below, copied] }, origin, &mut self.budget)?
            }
            _ => copied,
        });
        Ok(())
    }
}

fn check_checksum(words: &Expanded<'_>) -> Result<(), ConvertError> {
    if words.checksum.is_empty() {
        return Ok(());
    }
    match words.sources.as_slice() {
        [(source, _)] => match remote::classify(source) {
            Ok(Remote::Local) => Err(ConvertError::ChecksumLocal),
            // A repository with a bad query is reported when it is used.
            Ok(_) | Err(_) => Ok(()),
        },
        _ => Err(ConvertError::ChecksumSources),
    }
}

/// Files of the build context or of a stage.
fn from_tree(source: &str, parents: bool, template: &CopyAction) -> CopyAction {
    let (source, include, required) = if parents { with_parents(source) } else { (source, Vec::new(), Vec::new()) };
    let source = join_path(&["/", source]);
    CopyAction { source, include, required, from_tree: true, ..template.clone() }
}

/// `--parents`: what is before `/./` is the root of the copy, what is after it keeps its directories.
fn with_parents(source: &str) -> (&str, Vec<String>, Vec<String>) {
    let (root, pattern) = source.split_once("/./").unwrap_or(("/", source));
    let pattern = normal_workdir("/", pattern);
    let required = match has_wildcards(root) || has_wildcards(&pattern) {
        true => Vec::new(),
        false => vec![normal_workdir("/", &join_path(&[root, &pattern]))],
    };
    (root, vec![pattern.strip_prefix('/').unwrap_or(&pattern).to_owned()], required)
}

fn has_wildcards(path: &str) -> bool {
    let mut escaped = false;
    path.chars().any(|c| {
        let wild = !escaped && matches!(c, '*' | '?' | '[');
        escaped = !escaped && c == '\\';
        wild
    })
}

/// Where files go: a slash, or a slash and a dot, at the end stays, since it says that a directory is meant.
fn destination(cwd: &str, dest: &str) -> String {
    let dest = match dest {
        "" | "." => "./",
        dest => dest,
    };
    match dest.starts_with('/') {
        true => keep_end(dest, clean_path(dest)),
        false => keep_end(dest, join_path(&[cwd, dest])),
    }
}

fn keep_end(original: &str, mut cleaned: String) -> String {
    let end = match original {
        _ if original.ends_with('/') => "/",
        _ if original.ends_with("/.") => "/.",
        _ => "",
    };
    cleaned.push_str(if cleaned.ends_with('/') { end.trim_start_matches('/') } else { end });
    cleaned
}

fn history_line(words: &Expanded<'_>, verb: Verb<'_>) -> String {
    let sources = words.sources.iter().map(|(source, _)| source.len() + 1).sum::<usize>();
    let files = words.files.iter().map(|(name, _)| name.len() + 3).sum::<usize>();
    let mut line =
        String::with_capacity(64 + words.chown.len() + words.chmod.len() + sources + files + words.dest.len());
    line.push_str(match verb {
        Verb::Add { .. } => "ADD",
        Verb::Copy { parents: true } => "COPY --parents",
        Verb::Copy { .. } => "COPY",
    });
    if !words.chown.is_empty() {
        line.extend([" --chown=", &words.chown]);
    }
    if !words.chmod.is_empty() {
        line.extend([" --chmod=", &words.chmod]);
    }
    words.sources.iter().for_each(|(source, _)| line.extend([" ", source]));
    words.files.iter().for_each(|(name, _)| line.extend([" <<", name]));
    line.extend([" ", &words.dest, " # buildkit"]);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_keep_what_says_directory() {
        for (dest, path) in [
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a//b/../c", "/a/c"),
            ("b", "/w/b"),
            ("b/", "/w/b/"),
            (".", "/w/"),
            ("", "/w/"),
            ("./", "/w/"),
            ("../", "/"),
        ] {
            assert_eq!(destination("/w", dest), path, "{dest:?}");
        }
    }

    #[test]
    fn parents_split_at_the_pivot() {
        assert_eq!(with_parents("a/./b/c"), ("a", vec!["b/c".to_owned()], vec!["/a/b/c".to_owned()]));
        assert_eq!(with_parents("a/*"), ("/", vec!["a/*".to_owned()], vec![]));
    }
}
