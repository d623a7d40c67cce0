//! Directories and files of the host as the ids of a step see them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ids::Ids;
use super::overlay;
use crate::error::Error;

/// Mapped mounts in a directory of their own. Dropping it ends them; a file system made of them holds what it stands on.
#[derive(Debug)]
pub(super) struct Views<'a> {
    ids: &'a Ids,
    dir: PathBuf,
    count: usize,
}

impl<'a> Views<'a> {
    /// Views for these ids, below the empty directory `dir`.
    pub(super) fn new(ids: &'a Ids, dir: PathBuf) -> Self {
        Self { ids, dir, count: 0 }
    }

    /// Where `source`, a directory or a file, is seen with the owners that these ids give it.
    ///
    /// # Errors
    /// It can't be mounted like that.
    pub(super) fn show(&mut self, source: &Path) -> Result<PathBuf, Error> {
        let at = self.dir.join(self.count.to_string());
        self.count += 1;
        let failed = |source| Error::Scratch { path: at.clone(), source };
        if source.is_dir() {
            fs::create_dir(&at).map_err(failed)?;
        } else {
            File::create(&at).map_err(failed)?;
        }
        self.ids.show(source, &at)?;
        Ok(at)
    }
}

impl Drop for Views<'_> {
    fn drop(&mut self) {
        if let Err(error) = overlay::unmount_below(&self.dir) {
            tracing::warn!(path = %self.dir.display(), error = %error, "mapped mounts could not be ended");
        }
    }
}
