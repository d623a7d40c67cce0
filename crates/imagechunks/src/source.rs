//! Where packs are read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A place that has packs. It is asked from many threads at once. Trying again is its own affair: what it gives up fails a fetch.
pub trait Source: Sync {
    /// The bytes `range` of a pack; exactly so many. At most a few MiB are asked for at a time.
    ///
    /// # Errors
    /// They can't be had. What came is verified by who asks.
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>>;
}

impl<S: Source + ?Sized> Source for &S {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        S::read(self, pack, range)
    }
}

impl<S: Source + Send + ?Sized> Source for Arc<S> {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        S::read(self, pack, range)
    }
}
