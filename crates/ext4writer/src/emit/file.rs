//! An image as a file that appears under its name when it is complete.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fstree::Tree;
use rustix::fs::{FlockOperation, flock};

use super::{Report, digest, write_to};
use crate::error::Error;
use crate::options::Options;

/// Writes an image of `tree` to the file `path`, which is replaced if it exists.
///
/// The image is made as `.NAME.partial` in the same directory and renamed at the end; after an error there is nothing new in
/// the directory and the old file, if any, is as it was. What a killed process left is gone when the next image of that name
/// is made, and who else makes one is waited for. With [`Options::durable`] the image and its name are on disk.
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
    check_output(path)?;
    let partial = Partial::create(path, options)?;
    let report = write_to(tree, options, &partial.file)?;
    let file = &partial.file;
    let sync = || if options.durable { file.sync_all().map_err(|source| Error::Sync { source }) } else { Ok(()) };
    let ((), digest) = digest::meanwhile(file, options, sync)?;
    options.check_cancel()?;
    let renamed = fs::rename(&partial.path, path);
    renamed.map_err(|source| Error::Rename { path: path.to_owned(), source })?;
    if options.durable {
        let directory = File::open(directory_of(path));
        directory.and_then(|directory| directory.sync_all()).map_err(|source| Error::Sync { source })?;
    }
    Ok(Report { digest, ..report })
}

/// Whether a finished file may get that name, for who wants to know before the work: there is a file of that name, or nothing. A rename
/// replaces devices and pipes as well, and who runs this may be allowed to do so.
///
/// # Errors
/// [`Error::NotAFile`], or [`Error::CreateTemporary`] where its directory is not there.
pub fn check_output(path: &Path) -> Result<(), Error> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let directory = directory_of(path);
    // With a name in it, so that what is no directory is an error too.
    fs::metadata(directory.join("."))
        .map(drop)
        .map_err(|source| Error::CreateTemporary { directory: directory.to_owned(), source })
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An image on its way. Dropping it removes it, unless it was renamed.
struct Partial {
    path: PathBuf,
    /// Locked: who else wants to make an image of that name sees that somebody is at it.
    file: File,
}

impl Partial {
    fn create(path: &Path, options: &Options) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.with_file_name(format!(".{name}.partial"));
        loop {
            options.check_cancel()?;
            match Self::attempt(&path) {
                Ok(Some(file)) => return Ok(Self { path, file }),
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(source) => {
                    return Err(Error::CreateTemporary { directory: directory_of(&path).to_owned(), source });
                }
            }
        }
    }

    /// A new file, locked, in place of one whose writer is dead; `None` when it lives.
    fn attempt(path: &Path) -> io::Result<Option<File>> {
        match File::options().read(true).write(true).create_new(true).mode(0o666).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                let file = made?;
                flock(&file, FlockOperation::LockExclusive)?;
                // Another may have taken it for a dead one's before it was locked.
                return Ok(is_at(&file, path).then_some(file));
            }
        }
        let left = match fs::symlink_metadata(path) {
            Ok(left) if !left.is_file() => Err(io::Error::other(format!("{} is in the way", path.display()))),
            Ok(_) => File::open(path),
            Err(error) => Err(error),
        };
        let left = match left {
            // Renamed or removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            left => left?,
        };
        match flock(&left, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&left, path) => fs::remove_file(path)?,
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(None)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `file` is what `path` names.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |own: fs::Metadata, now: fs::Metadata| (now.dev(), now.ino()) == (own.dev(), own.ino());
    file.metadata().is_ok_and(|own| fs::symlink_metadata(path).is_ok_and(|now| same(own, now)))
}
