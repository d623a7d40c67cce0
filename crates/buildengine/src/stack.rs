//! The layers of a build so far, and the directories an overlay stands on for the next command.

use std::fs::{self, File};
use std::path::PathBuf;

use fstree::Tree;
use ocilayers::Layer;

use crate::cache::shelf::{Held, Shelf};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::sandbox::rootfs;

/// An overlay takes its directories in one page of options: a longer stack is written out as one directory first.
const UPPERS_MAX: usize = 16;

/// The layers, lowest first, and what of them is already a directory.
#[derive(Debug)]
pub(crate) struct Stack<'a> {
    /// Where finished root directories are kept, one for each list of layers.
    roots: Shelf,
    limits: &'a ocilayers::Limits,
    layers: Vec<Layer>,
    /// The lowest directory, and how many layers it stands for.
    base: Option<(Held, usize)>,
    /// Upper directories of the layers above that, lowest first.
    uppers: Vec<PathBuf>,
}

impl<'a> Stack<'a> {
    pub(crate) fn new(roots: Shelf, limits: &'a ocilayers::Limits, layers: Vec<Layer>) -> Self {
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
    pub(crate) fn lowers(&mut self, tree: &Tree, cancel: &Cancel) -> Result<Vec<PathBuf>, Error> {
        if self.base.is_none() || self.uppers.len() >= UPPERS_MAX {
            self.uppers.clear();
            self.base = Some((self.write_out(tree, cancel)?, self.layers.len()));
        }
        let base = self.base.iter().map(|(held, _)| held.path().to_owned());
        Ok(self.uppers.iter().rev().cloned().chain(base).collect())
    }

    /// Writes the tree as a directory named by its layers, or finds it written.
    fn write_out(&self, tree: &Tree, cancel: &Cancel) -> Result<Held, Error> {
        let name = ocilayers::chain_id(&self.layers).replace(':', "-");
        self.roots.get(&name, cancel, |partial| {
            let context = |source| Error::Scratch { path: partial.to_owned(), source };
            fs::create_dir(partial).map_err(context)?;
            rootfs::write(tree, partial)?;
            let directory = File::open(partial).map_err(context)?;
            rustix::fs::syncfs(&directory).map_err(|errno| context(errno.into()))
        })
    }
}
