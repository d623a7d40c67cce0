//! Layers to one tree: headers read in parallel, changes applied from the lowest layer up.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use fstree::{Diff, Kind, Metadata, Tree};
use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::Error;
use crate::limits::Limits;
use crate::store::Layer;
use crate::whiteout;

/// What the root directory is when no layer describes it.
fn root() -> Metadata {
    Metadata { mode: 0o755, ..Metadata::default() }
}

/// The tree that `layers` make, lowest first.
///
/// A file whose access control list and mode disagree keeps both as the layer has them.
///
/// # Errors
/// A layer that is no archive, or a change that can't be carried out.
pub fn flatten(layers: &[Layer], limits: &Limits) -> Result<Tree, Error> {
    let mut tree = Tree::with_limit(root(), limits.tree.nodes);
    // As many layers at a time as there are threads: the limits of a layer then bound the memory of all.
    for some in layers.chunks(rayon::current_num_threads()) {
        let diffs: Vec<Diff> = some.par_iter().map(|layer| layer.diff(limits)).collect::<Result<_, _>>()?;
        for (layer, diff) in some.iter().zip(diffs) {
            tree.apply(diff).map_err(|source| Error::Apply { layer: layer.diff_id().to_string(), source })?;
        }
    }
    Ok(tree)
}

/// The tree of a plain tar: contents stay in the file, nothing is copied. `-` is standard input, kept in an unnamed
/// temporary file. As many `threads` read the headers.
///
/// # Errors
/// The file can't be read, or is no archive that can be taken.
pub fn tree_of_tar(path: &Path, limits: &Limits, threads: usize) -> Result<Tree, Error> {
    let (file, len) = open_tar(path, limits)?;
    let wrap = |source| Error::Archive { layer: path.display().to_string(), source };
    let source: Arc<dyn fstree::ReadAt> = Arc::new(file);
    let mut diff = fstree::tar::read_parallel(&source, len, &limits.tree, threads).map_err(wrap)?;
    if has_whiteouts(&diff) {
        diff = whiteout::split(diff, &path.display().to_string())?;
    }
    let mut tree = Tree::with_limit(root(), limits.tree.nodes);
    tree.apply(diff).map_err(|source| Error::Apply { layer: path.display().to_string(), source })?;
    Ok(tree)
}

/// A tar that holds whiteouts is a layer; one without is a root file system, whose attributes are all its own.
fn has_whiteouts(diff: &Diff) -> bool {
    diff.additions.iter().any(|addition| {
        let (fstree::Addition::Entry { path, node: _ } | fstree::Addition::Link { path, .. }) = addition;
        path.split_last().is_some_and(|(_, name)| name.starts_with(b".wh."))
    })
}

/// Opens an uncompressed tar, and says how long it is.
pub(crate) fn open_tar(path: &Path, limits: &Limits) -> Result<(File, u64), Error> {
    let file = if path == Path::new("-") {
        spool(io::stdin().lock(), limits).map_err(Error::file("standard input"))?
    } else {
        File::open(path).map_err(Error::file(path))?
    };
    let metadata = file.metadata().map_err(Error::file(path))?;
    if !metadata.is_file() {
        let why = "it is not a regular file".to_owned();
        return Err(Error::Unsupported { what: path.display().to_string(), why });
    }
    refuse_compressed(&file, path)?;
    Ok((file, metadata.len()))
}

fn spool(input: impl Read, limits: &Limits) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    let len = io::copy(&mut input.take(limits.layer_bytes + 1), &mut file)?;
    if len > limits.layer_bytes {
        return Err(io::Error::other(format!("it is longer than {} bytes", limits.layer_bytes)));
    }
    Ok(file)
}

fn refuse_compressed(file: &File, path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 4];
    let compressed =
        file.read_exact_at(&mut start, 0).is_ok() && matches!(start, [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]);
    if !compressed {
        return Ok(());
    }
    let why = "it is compressed; decompress it first (gzip -d, zstd -d)".to_owned();
    Err(Error::Unsupported { what: path.display().to_string(), why })
}

/// The identity of a list of layers applied in order (OCI image specification, config.md, "Layer ChainID").
#[must_use]
pub fn chain_id(layers: &[Layer]) -> String {
    let join = |chain: Option<String>, layer: &Layer| match chain {
        None => Some(layer.diff_id().to_string()),
        Some(chain) => Some(Digest::of(format!("{chain} {}", layer.diff_id()).as_bytes()).to_string()),
    };
    layers.iter().fold(None, join).unwrap_or_else(|| Digest::of(b"").to_string())
}

/// The youngest file of a tree, for the creation time of an image that says none.
pub(crate) fn newest_mtime(tree: &Tree) -> i64 {
    let mut newest = 0;
    let done: Result<(), std::convert::Infallible> = fstree::walk(tree, |visit| {
        if !matches!(visit.node.kind, Kind::Directory(_)) {
            newest = newest.max(visit.node.metadata.mtime.seconds);
        }
        Ok(())
    });
    match done {
        Ok(()) => newest,
    }
}
