//! The layers of a build so far, and the directories an overlay stands on for the next command.

use std::path::PathBuf;

use fstree::Tree;
use ocilayers::Layer;

use crate::cancel::Cancel;
use crate::error::Error;
use crate::roots::{Root, Roots};
use crate::scratch::Scratch;

/// An overlay takes its directories in one page of options: a longer stack is written out as one root file system first.
const UPPERS_MAX: usize = 16;

/// The layers, lowest first, and what of them is already a directory.
#[derive(Debug)]
pub(crate) struct Stack<'a> {
    roots: Roots<'a>,
    limits: &'a ocilayers::Limits,
    layers: Vec<Layer>,
    /// The lowest directory, and how many layers it stands for.
    base: Option<(Root, usize)>,
    /// Upper directories of the layers above that, lowest first.
    uppers: Vec<PathBuf>,
}

impl<'a> Stack<'a> {
    pub(crate) fn new(roots: Roots<'a>, limits: &'a ocilayers::Limits, layers: Vec<Layer>) -> Self {
        Self { roots, limits, layers, base: None, uppers: Vec::new() }
    }

    /// The layers, lowest first.
    pub(crate) fn into_layers(self) -> Vec<Layer> {
        self.layers
    }

    /// How many layers there are.
    pub(crate) fn height(&self) -> usize {
        self.layers.len()
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
    pub(crate) fn lowers(&mut self, tree: &Tree, scratch: &Scratch, cancel: &Cancel) -> Result<Vec<PathBuf>, Error> {
        if self.base.is_none() || self.uppers.len() >= UPPERS_MAX {
            self.uppers.clear();
            let base = self.roots.get(&ocilayers::chain_id(&self.layers), tree, scratch, cancel)?;
            self.base = Some((base, self.layers.len()));
        }
        let base = self.base.iter().map(|(root, _)| root.path.clone());
        Ok(self.uppers.iter().rev().cloned().chain(base).collect())
    }
}
