//! File systems in files: an ext4 image, mounted through a loop device of its own.
//!
//! ```text
//!   roots/<chain id>.ext4 ──read only──▶ the lowest directory of overlays
//!   a file without a name ──────────────▶ the disk of one step: upper and work directory, and what is mounted in it
//! ```
//!
//! The kernel gives a device back when its file system is unmounted or the process that has just attached it dies, so no device
//! needs sweeping; mounts are swept with the scratch directory they lie in.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ext4writer::{ImageSize, Inodes, Journal};
use fstree::{Metadata, Tree};
use rustix::mount::{MountFlags, mount};

use super::{Missing, kernel, overlay};
use crate::error::Error;
use crate::scratch::Scratch;

/// How often another device is tried when somebody else took the one that was free.
const ATTEMPTS: u32 = 64;
/// What the directories and mount points of this module and of overlayfs may take, beside what a step may write.
const OWN_BYTES: u64 = 1 << 20;
/// One inode for each block of a step's disk: whoever makes many small files runs out of blocks, as everywhere, not of inodes.
const BYTES_PER_INODE: NonZeroU32 = NonZeroU32::new(4_096).expect("not zero");

/// Mounts the ext4 image `image` at `at`, for reading only.
///
/// # Errors
/// [`Error::Lacking`] where the host has no loop devices.
pub(crate) fn mount_read_only(image: &Path, at: &Path) -> Result<(), Error> {
    let file = File::open(image).map_err(|source| Error::Scratch { path: image.to_owned(), source })?;
    attach_and_mount(&file, at, true, c"")
}

fn attach_and_mount(file: &File, at: &Path, read_only: bool, options: &CStr) -> Result<(), Error> {
    let (device, _open_until_mounted) = attach(file, read_only).map_err(|error| Error::Lacking {
        missing: Missing::LoopDevices,
        why: format!(
            "a loop device can't be had ({error}); load the module 'loop', or give access to /dev/loop-control"
        ),
    })?;
    let access = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME | access;
    mount(&device, at, "ext4", flags, options)
        .map_err(|errno| Error::Mount { target: at.to_owned(), source: errno.into() })
}

/// A device with `file` behind it. It lives as long as it is open here or mounted.
fn attach(file: &File, read_only: bool) -> io::Result<(PathBuf, File)> {
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        let path = PathBuf::from(format!("/dev/loop{}", kernel::free_loop_device(&control)?));
        let device = File::options().read(true).write(true).open(&path)?;
        match kernel::configure_loop_device(&device, file, read_only) {
            Ok(()) => return Ok((path, device)),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Where what one step changes is kept: a file system of its own and of bounded size, which alone is full when the step has
/// filled it. Where loop devices are missing and that was allowed, a plain directory.
#[derive(Clone, Debug)]
pub struct StepDisk {
    dir: PathBuf,
    /// None for a plain directory.
    root: Option<Arc<Root>>,
}

/// The root directory of the file system of a step.
#[derive(Debug)]
struct Root {
    /// Open from before the step on: the kernel tells a descriptor of the writes that were lost after it was opened (syncfs(2)).
    file: File,
    /// Blocks that were free before the step.
    free_blocks: u64,
}

/// How full a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) used_bytes: u64,
    /// Of data or of files.
    pub(crate) is_full: bool,
}

impl StepDisk {
    /// A disk for the step `id` on which `size_bytes` can be written, with its directories.
    ///
    /// # Errors
    /// [`Error::Lacking`] where the host has no loop devices and they are not among `allowed`.
    pub(crate) fn create(scratch: &Scratch, id: &str, size_bytes: u64, allowed: &[Missing]) -> Result<Self, Error> {
        let dir = scratch.subdirectory(&format!("{id}-disk"))?;
        let failed = |source| Error::Scratch { path: dir.clone(), source };
        let root = match mount_fresh(scratch.path(), &dir, size_bytes) {
            Ok(()) => Some(Arc::new(Root::open(&dir).map_err(failed)?)),
            Err(Error::Lacking { missing, why }) if allowed.contains(&missing) => {
                tracing::warn!(%why, "the disk of a step is watched, not bounded");
                None
            }
            Err(error) => return Err(error),
        };
        let disk = Self { dir, root };
        for place in [disk.upper(), disk.work(), disk.points()] {
            fs::create_dir(&place).map_err(|source| Error::Scratch { path: place, source })?;
        }
        Ok(disk)
    }

    /// Whether one can be made and mounted, tried in a directory below `scratch_root`.
    pub(crate) fn probe(scratch_root: &Path, size_bytes: u64) -> Result<(), Error> {
        crate::private::make(scratch_root)
            .map_err(|source| Error::Scratch { path: scratch_root.to_owned(), source })?;
        let dir = tempfile::tempdir_in(scratch_root);
        let dir = dir.map_err(|source| Error::Scratch { path: scratch_root.to_owned(), source })?;
        mount_fresh(scratch_root, dir.path(), size_bytes)?;
        overlay::unmount_below(dir.path())
    }

    /// A plain directory, which nothing bounds.
    pub(crate) fn plain(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), root: None }
    }

    /// All of it.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same disk, seen at another place.
    pub(crate) fn seen_at(&self, dir: PathBuf) -> Self {
        Self { dir, root: self.root.clone() }
    }

    /// What the command changes.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// The overlay's own directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Mount points that the image lacks.
    pub(crate) fn points(&self) -> PathBuf {
        self.dir.join("points")
    }

    /// How full it is; `None` for a plain directory, which nothing bounds.
    pub(crate) fn fill(&self) -> Option<Fill> {
        let root = self.root.as_ref()?;
        // It is mounted, so the kernel answers from memory.
        let found = rustix::fs::fstatvfs(&root.file).ok()?;
        Some(Fill {
            used_bytes: root.free_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize),
            is_full: found.f_bavail == 0 || found.f_favail == 0,
        })
    }

    /// Waits until everything is written to the file below the loop device.
    ///
    /// # Errors
    /// [`Error::LostWrites`] when a write since the disk was made was not kept: the disk below is full or broken.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let Some(root) = &self.root else { return Ok(()) };
        rustix::fs::syncfs(&root.file)
            .map_err(|errno| Error::LostWrites { path: self.dir.clone(), source: errno.into() })
    }
}

impl Root {
    fn open(dir: &Path) -> io::Result<Self> {
        let file = File::open(dir)?;
        let free_blocks = rustix::fs::fstatvfs(&file)?.f_bfree;
        Ok(Self { file, free_blocks })
    }
}

/// Makes an empty file system in a file without a name beside `at`, and mounts it there.
///
/// It holds nothing that has to outlive the machine: no journal, and no flushes of the disk below.
fn mount_fresh(beside: &Path, at: &Path, size_bytes: u64) -> Result<(), Error> {
    let file = tempfile::tempfile_in(beside).map_err(|source| Error::Scratch { path: beside.to_owned(), source })?;
    let options = ext4writer::Options {
        size: ImageSize::Auto {
            headroom_bytes: size_bytes.saturating_add(kept_back(size_bytes)).saturating_add(OWN_BYTES),
        },
        inodes: Inodes::BytesPerInode(BYTES_PER_INODE),
        journal: Journal::None,
        grow_factor: 0,
        threads: Some(1),
        ..ext4writer::Options::default()
    };
    let empty = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    ext4writer::write_to(&empty, &options, &file).map_err(Error::DiskImage)?;
    attach_and_mount(&file, at, false, c"nobarrier,noinit_itable")
}

/// What the kernel itself keeps back of the free blocks of an ext4 file system (`ext4_calculate_resv_clusters`): a fiftieth,
/// at most 4,096 blocks of 4 KiB.
fn kept_back(size_bytes: u64) -> u64 {
    (size_bytes / 49).min(4_096 * 4_096)
}
