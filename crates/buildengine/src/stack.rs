//! The layers of a build so far, and the directories an overlay stands on for the next command.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use fstree::Tree;
use ocilayers::Layer;

use crate::error::Error;
use crate::sandbox::rootfs;

/// An overlay takes its directories in one page of options: a longer stack is written out as one directory first.
const UPPERS_MAX: usize = 16;

/// The layers, lowest first, and what of them is already a directory.
#[derive(Debug)]
pub(crate) struct Stack<'a> {
    /// Where finished root directories are kept, one for each list of layers.
    roots: &'a Path,
    limits: &'a ocilayers::Limits,
    layers: Vec<Layer>,
    /// The lowest directory, and how many layers it stands for.
    base: Option<(PathBuf, usize)>,
    /// Upper directories of the layers above that, lowest first.
    uppers: Vec<PathBuf>,
}

impl<'a> Stack<'a> {
    pub(crate) fn new(roots: &'a Path, limits: &'a ocilayers::Limits, layers: Vec<Layer>) -> Self {
        Self { roots, limits, layers, base: None, uppers: Vec::new() }
    }

    /// The layers, lowest first.
    pub(crate) fn into_layers(self) -> Vec<Layer> {
        self.layers
    }

    /// The diff_ids, lowest first.
    pub(crate) fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| layer.diff_id().to_string()).collect()
    }

    /// The tree that the layers make.
    pub(crate) fn tree(&self) -> Result<Tree, Error> {
        Ok(ocilayers::flatten(&self.layers, self.limits)?)
    }

    /// Puts a layer on top; `upper` is the directory it was read from, if it still is there.
    pub(crate) fn push(&mut self, layer: Layer, upper: Option<PathBuf>) {
        self.layers.push(layer);
        let covered = self.base.as_ref().map_or(0, |(_, layers)| layers + self.uppers.len()) + 1 == self.layers.len();
        match upper {
            Some(upper) if covered => self.uppers.push(upper),
            // The directories no longer tell all: the next command gets a directory of all layers.
            _ => {
                self.base = None;
                self.uppers.clear();
            }
        }
    }

    /// The directories of all layers, uppermost first. `tree` is what they make.
    pub(crate) fn lowers(&mut self, tree: &Tree) -> Result<Vec<PathBuf>, Error> {
        if self.base.is_none() || self.uppers.len() >= UPPERS_MAX {
            self.uppers.clear();
            self.base = Some((self.write_out(tree)?, self.layers.len()));
        }
        let base = self.base.iter().map(|(path, _)| path);
        Ok(self.uppers.iter().rev().chain(base).cloned().collect())
    }

    /// Writes the tree as a directory named by its layers, or finds it written. Complete or not there.
    fn write_out(&self, tree: &Tree) -> Result<PathBuf, Error> {
        let path = self.roots.join(ocilayers::chain_id(&self.layers).replace(':', "-"));
        let context = |source| Error::Scratch { path: path.clone(), source };
        if path.exists() {
            return Ok(path);
        }
        fs::create_dir_all(self.roots).map_err(context)?;
        let temporary = tempfile::Builder::new().prefix("partial-").tempdir_in(self.roots).map_err(context)?;
        let root = temporary.path().join("root");
        fs::create_dir(&root).map_err(context)?;
        rootfs::write(tree, &root)?;
        let directory = File::open(self.roots).map_err(context)?;
        rustix::fs::syncfs(&directory).map_err(|errno| context(errno.into()))?;
        match fs::rename(&root, &path) {
            // Another build was faster.
            Err(_) if path.exists() => {}
            renamed => renamed.map_err(context)?,
        }
        directory.sync_all().map_err(context)?;
        Ok(path)
    }
}
