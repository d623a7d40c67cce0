//! Where an image goes.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// What an image can be written to, from several threads at once.
pub trait WriteAt: Debug + Sync {
    /// Makes the sink `len_bytes` zero bytes long, whatever it held before. Only what is not zero is written after that.
    ///
    /// # Errors
    /// The error of the underlying calls.
    fn prepare(&self, len_bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes` from byte `offset` on, inside the prepared length.
    ///
    /// # Errors
    /// The error of the underlying write.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// A regular file; what is not written becomes a hole.
impl WriteAt for File {
    fn prepare(&self, len_bytes: u64) -> io::Result<()> {
        // Cutting off even nothing makes ext4 start to write the file out when it is closed, and the close waits for that.
        if self.metadata()?.len() > 0 {
            self.set_len(0)?;
        }
        self.set_len(len_bytes)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }
}

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
