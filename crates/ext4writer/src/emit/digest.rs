//! The digest of a finished image.

use std::fs::File;
use std::io;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::buffer::Buffer;
use crate::error::Error;
use crate::options::Options;
use crate::units::index;

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;

/// The SHA-256 of a file of `len` bytes. Holes are not read: they are zeros that need no room in the page cache.
pub(super) fn of_file(file: &File, len: u64, options: &Options) -> Result<[u8; 32], Error> {
    let mut hash = Sha256::new();
    let mut buffer = Buffer::default();
    let zeros = vec![0; index(PIECE)];
    let (mut at, mut data) = (0, 0..0);
    while at < len {
        options.check_cancel()?;
        if at >= data.end {
            data = next_data(file, at, len).map_err(|source| Error::ReadImage { offset: at, source })?;
        }
        let (until, is_hole) = if at < data.start { (data.start, true) } else { (data.end, false) };
        let piece = PIECE.min(until - at);
        if is_hole {
            hash.update(&zeros[..index(piece)]);
        } else {
            let bytes = buffer.bytes(index(piece));
            let read = fstree::ReadAt::read_exact_at(file, bytes, at);
            read.map_err(|source| Error::ReadImage { offset: at, source })?;
            hash.update(bytes);
        }
        at += piece;
    }
    Ok(hash.finalize().into())
}

/// The next run of a file that is no hole, at or after `at`; an empty one at its end when there is none.
fn next_data(file: &File, at: u64, len: u64) -> io::Result<std::ops::Range<u64>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start.min(len),
        // Nothing but a hole is left.
        Err(Errno::NXIO) => return Ok(len..len),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(at..len),
        Err(error) => return Err(error.into()),
    };
    if start == len {
        return Ok(len..len);
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(start..end.clamp(start + 1, len))
}

/// What `work` gives, and the digest of the file where the options ask for it, found on another thread meanwhile.
pub(super) fn meanwhile<T>(
    file: &File,
    options: &Options,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<(T, Option<[u8; 32]>), Error> {
    if !options.digest {
        return Ok((work()?, None));
    }
    let failed = |source| Error::ReadImage { offset: 0, source };
    let len = file.metadata().map_err(failed)?.len();
    std::thread::scope(|scope| {
        let digest = std::thread::Builder::new().spawn_scoped(scope, || of_file(file, len, options)).map_err(failed)?;
        let done = work();
        let digest = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((done?, Some(digest?)))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn holes_count_as_zeros_wherever_they_are() {
        let cases: [(u64, &[(u64, usize)]); 6] = [
            (0, &[]),
            (5, &[]),
            (5, &[(0, 5)]),
            (3 << 20, &[(0, 1), ((1 << 20) - 1, 2)]),
            ((5 << 20) + 77, &[(2 << 20, 1 << 20), ((5 << 20) + 70, 7)]),
            (9 << 20, &[(4 << 20, 3 << 20)]),
        ];
        for (len, runs) in cases {
            let file = tempfile::tempfile().unwrap();
            file.set_len(len).unwrap();
            let mut bytes = vec![0; index(len)];
            for &(at, run) in runs {
                bytes[index(at)..index(at) + run].fill(7);
                file.write_all_at(&vec![7; run], at).unwrap();
            }
            let expected: [u8; 32] = Sha256::digest(&bytes).into();
            assert_eq!(of_file(&file, len, &Options::default()).unwrap(), expected, "{len} bytes with {runs:?}");
        }
    }
}
