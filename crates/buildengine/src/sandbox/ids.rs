//! Ids of a step's own: a user namespace in which root and everybody else is nobody on the host, and mounts that translate.
//!
//! ```text
//!   on disk, in layers      0 ───── 65,535      4,294,967,294 (whom no image names)
//!                           │ mapped mount      │
//!   on the host         first ── first+65,535   0 (who mounts: the overlay's own files)
//!                           │ user namespace
//!   inside the container    0 ───── 65,535
//! ```
//!
//! Steps at one time have different ranges: what one could leave behind belongs to none of the others. The lock of a range is
//! held while its step runs. The ids of overlays' own files (the work directory, copies under way) are those of the process
//! that mounts, so they need a translation too: without one the overlay comes up read-only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FlockOperation, flock};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::runtime::DIRECTORIES;
use super::{Missing, kernel, place};
use crate::error::Error;

/// How many ids a step has: all that Linux distributions give out (Debian Policy, 9.2.2).
pub(crate) const IDS: u32 = 65_536;
/// The first id of the first range: far above those that accounts and subuid(5) use.
const FIRST: u32 = 0x1000_0000;
/// How many ranges there are.
const RANGES: u32 = 4_096;
/// On disk, the id of the process that mounts: the last that is valid.
const OF_THE_MOUNTER: u32 = u32::MAX - 1;
/// Where the locks of ranges are: ids belong to the host, not to a state directory.
const LOCKS: &str = "/run/drydock/ids";

/// A range of ids, and the namespace that maps them. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Ids {
    first: u32,
    /// The user namespace of mapped mounts.
    namespace: File,
    _lock: File,
}

impl Ids {
    /// A range that no other step has.
    ///
    /// # Errors
    /// [`Error::Lacking`] where the host has no user namespaces.
    pub(crate) fn take() -> Result<Self, Error> {
        let (number, lock) = free_range().map_err(|source| Error::Scratch { path: LOCKS.into(), source })?;
        let first = FIRST + number * IDS;
        let namespace = namespace(first).map_err(|error| missing(&format!("none can be made ({error})")))?;
        Ok(Self { first, namespace, _lock: lock })
    }

    /// The id that root of the container has on the host.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// Shows `source` once more at `at`, both directories or both files, with its owners translated.
    ///
    /// # Errors
    /// [`Error::Lacking`] where the file system or the kernel can't.
    pub(crate) fn show(&self, source: &Path, at: &Path) -> Result<(), Error> {
        let failed = |errno: rustix::io::Errno| Error::Mount { target: at.to_owned(), source: errno.into() };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, source, flags).map_err(failed)?;
        kernel::map_ids(&tree, &self.namespace).map_err(|error| {
            missing(&format!("the file system of {} can't be mounted with other owners ({error})", source.display()))
        })?;
        move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed)
    }
}

fn missing(what: &str) -> Error {
    let why =
        format!("{what}; mapped mounts need Linux 5.19, sysctl user.max_user_namespaces above 0, and no chroot around");
    Error::Lacking { missing: Missing::UserNamespaces, why }
}

/// The first range whose lock is free.
fn free_range() -> io::Result<(u32, File)> {
    [place::RUN, LOCKS].into_iter().try_for_each(|dir| place::passable(Path::new(dir)))?;
    for number in 0..RANGES {
        let path = Path::new(LOCKS).join(number.to_string());
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok((number, file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other("all ranges of ids are in use"))
}

/// A user namespace with the ids from `first` on. A namespace is made by a process for itself, and only one of a single thread
/// can: so another program makes it, which ends once the namespace is held here.
fn namespace(first: u32) -> io::Result<File> {
    let mut maker = Command::new("unshare");
    maker.args(["--user", "cat"]).env_clear().env("PATH", DIRECTORIES.join(":")).current_dir("/");
    let mut maker = maker.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let made = hold(&mut maker, first);
    // It has no more to do; that it has ended by itself is no error.
    let _ = maker.kill();
    let output = maker.wait_with_output()?;
    made.map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        if said.is_empty() { error } else { io::Error::other(said.trim().to_owned()) }
    })
}

fn hold(maker: &mut Child, first: u32) -> io::Result<File> {
    // The byte comes back when `unshare` has become `cat`, inside the namespace.
    maker.stdin.as_mut().expect("piped").write_all(b"x")?;
    maker.stdout.as_mut().expect("piped").read_exact(&mut [0])?;
    let process = Path::new("/proc").join(maker.id().to_string());
    for map in ["uid_map", "gid_map"] {
        fs::write(process.join(map), format!("0 {first} {IDS}\n{OF_THE_MOUNTER} 0 1\n"))?;
    }
    File::open(process.join("ns/user"))
}
