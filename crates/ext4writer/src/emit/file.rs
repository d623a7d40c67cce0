//! An image as a file that appears under its name when it is complete.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fstree::Tree;

use super::{Report, digest, write_to};
use crate::error::Error;
use crate::options::Options;

/// Writes an image of `tree` to the file `path`, which is replaced if it exists.
///
/// The image is made in a temporary file of the same directory and renamed at the end; after an error there is nothing new
/// in the directory and the old file, if any, is as it was. With [`Options::durable`] the image and its name are on disk.
///
/// ```
/// use ext4writer::{ImageSize, Options, write_image};
/// use fstree::{Metadata, Tree};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("rootfs.ext4");
/// let tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
/// let options = Options { size: ImageSize::Exact(16 << 20), ..Options::default() };
/// let report = write_image(&tree, &options, &path)?;
/// assert_eq!((report.image_bytes, std::fs::metadata(&path)?.len()), (16 << 20, 16 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`layout`](crate::layout), and when reading a content, writing, syncing or renaming fails, or the caller cancels.
pub fn write_image(tree: &Tree, options: &Options, path: &Path) -> Result<Report, Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new()
        .prefix(".ext4-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|source| Error::CreateTemporary { directory: directory.to_owned(), source })?;
    let report = write_to(tree, options, temporary.as_file())?;
    let file = temporary.as_file();
    let sync = || if options.durable { file.sync_all().map_err(|source| Error::Sync { source }) } else { Ok(()) };
    let ((), digest) = digest::meanwhile(file, options, sync)?;
    options.check_cancel()?;
    let renamed = temporary.persist(path);
    renamed.map_err(|error| Error::Rename { path: path.to_owned(), source: error.error })?;
    if options.durable {
        let directory = fs::File::open(directory);
        directory.and_then(|directory: File| directory.sync_all()).map_err(|source| Error::Sync { source })?;
    }
    Ok(Report { digest, ..report })
}
