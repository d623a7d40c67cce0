//! Where an image goes.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::units::u64_of;

/// What an image can be written to, from several threads at once.
pub trait WriteAt: Debug + Sync {
    /// Makes the sink `len_bytes` zero bytes long, whatever it held before. Only what is not zero is written after that.
    ///
    /// # Errors
    /// The error of the underlying calls.
    fn prepare(&self, len_bytes: u64) -> io::Result<()>;

    /// Hears that so many bytes from byte `offset` on will be written, all of them, so that it can make room at once.
    ///
    /// # Errors
    /// That there is no room for them. A sink that can't make room beforehand does nothing.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Writes all of `bytes` from byte `offset` on, inside the prepared length.
    ///
    /// # Errors
    /// The error of the underlying write.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Whether [`Self::share`] is worth trying with this file: both are on one file system that can share blocks.
    fn may_share(&self, source: &File) -> bool {
        let _ = source;
        false
    }

    /// Takes over `len` bytes of a file without copying them where both are on a file system that can (XFS, btrfs). Offsets
    /// and length are whole blocks of 4 KiB. Says how many bytes were taken over; the rest is to be written.
    ///
    /// # Errors
    /// The error of the underlying call, where it is not that sharing is impossible.
    fn share(&self, source: &File, source_offset: u64, offset: u64, len: u64) -> io::Result<u64> {
        let _ = (source, source_offset, offset, len);
        Ok(0)
    }
}

/// `f_type` of ext4 (statfs(2)).
const EXT4: i64 = 0xef53;

/// `f_type` of file systems whose files can share blocks (statfs(2)).
const SHARING: [i64; 2] = [0x5846_5342, 0x9123_683e];

/// A regular file; what is not written becomes a hole.
impl WriteAt for File {
    fn prepare(&self, len_bytes: u64) -> io::Result<()> {
        // Cutting off even nothing makes ext4 start to write the file out when it is closed, and the close waits for that.
        if self.metadata()?.len() > 0 {
            self.set_len(0)?;
        }
        self.set_len(len_bytes)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        // On ext4 a write to blocks that are there saves looking for each of them; elsewhere it was not seen to help.
        if rustix::fs::fstatfs(self)?.f_type != EXT4 {
            return Ok(());
        }
        match rustix::fs::fallocate(self, FallocateFlags::empty(), offset, len) {
            // A file that is mapped by blocks and not by extents, as old file systems have, has no such room.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            made => Ok(made?),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn may_share(&self, source: &File) -> bool {
        let same =
            self.metadata().ok().zip(source.metadata().ok()).is_some_and(|(own, source)| own.dev() == source.dev());
        same && rustix::fs::fstatfs(self).is_ok_and(|found| SHARING.contains(&found.f_type))
    }

    fn share(&self, source: &File, source_offset: u64, offset: u64, len: u64) -> io::Result<u64> {
        let (mut from, mut to, mut shared) = (source_offset, offset, 0);
        while shared < len {
            let left = usize::try_from(len - shared).unwrap_or(usize::MAX);
            // Of aligned ranges on one file system that can, the kernel shares the blocks (copy_file_range(2)).
            match rustix::fs::copy_file_range(source, Some(&mut from), self, Some(&mut to), left) {
                Ok(0) => break,
                Ok(some) => shared += u64_of(some),
                Err(Errno::INTR) => {}
                Err(error) if shared == 0 && IMPOSSIBLE.contains(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(shared)
    }
}

/// What the kernel says when blocks can't be shared.
const IMPOSSIBLE: [Errno; 5] = [Errno::XDEV, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::TXTBSY];

/// An image in memory: for tests and for small images.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// The image.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteAt for Memory {
    fn prepare(&self, len_bytes: u64) -> io::Result<()> {
        let len = usize::try_from(len_bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut image = Vec::new();
        image.try_reserve_exact(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        image.resize(len, 0);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = image;
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut image = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(bytes.len())?));
        let place = range.and_then(|range| image.get_mut(range));
        place.ok_or_else(|| io::Error::from(io::ErrorKind::WriteZero))?.copy_from_slice(bytes);
        Ok(())
    }
}
