//! Blobs to plain tars, by what the bytes are: the media type is only compared.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;

use crate::limits::Limits;

/// Bytes that tell how a blob is compressed.
const MAGIC_BYTES: u64 = 4;
/// Size of the window in front of a decompressor, in bytes.
const BUFFER: usize = 256 << 10;
/// The largest zstd window, as a power of two: 128 MiB, what zstd itself takes without being told.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames, skippable ones among them.
    Zstd,
}

impl Compression {
    /// What the first bytes say.
    fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// What a media type says, where it says something.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        let ending = |suffixes: &[&str]| suffixes.iter().any(|suffix| media_type.ends_with(suffix));
        if ending(&["+gzip", ".gzip"]) {
            Some(Self::Gzip)
        } else if ending(&["+zstd", ".zstd"]) {
            Some(Self::Zstd)
        } else {
            ending(&[".tar"]).then_some(Self::None)
        }
    }
}

/// A reader of the plain bytes of `blob`, and how it is compressed. Checksums of gzip and zstd are checked on the way.
pub(crate) fn reader<'a>(mut blob: impl Read + 'a) -> io::Result<(Box<dyn Read + 'a>, Compression)> {
    // One read of a connection may bring fewer.
    let mut start = Vec::new();
    blob.by_ref().take(MAGIC_BYTES).read_to_end(&mut start)?;
    let compression = Compression::sniff(&start);
    let blob = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(blob));
    let reader: Box<dyn Read> = match compression {
        Compression::None => Box::new(blob),
        Compression::Gzip => Box::new(Members { member: Some(GzDecoder::new(blob)) }),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    };
    Ok((reader, compression))
}

/// All members of a gzip file, one after the other (RFC 1952, 2.2). Zeros after the last one are the padding of a tape;
/// anything else there is an error.
struct Members<R> {
    /// `None` after the last member.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let len = member.read(buffer)?;
            if len > 0 || buffer.is_empty() {
                return Ok(len);
            }
            self.member = next_member(self.member.take().expect("there is one").into_inner())?;
        }
        Ok(0)
    }
}

/// The member that starts where the one before it ended.
fn next_member<R: BufRead>(mut blob: R) -> io::Result<Option<GzDecoder<R>>> {
    let garbage = || io::Error::new(io::ErrorKind::InvalidData, "something that is not gzip follows the gzip data");
    match blob.fill_buf()? {
        [] => Ok(None),
        [0x1f, ..] => Ok(Some(GzDecoder::new(blob))),
        _ => {
            while let rest @ [_, ..] = blob.fill_buf()? {
                if rest.iter().any(|&byte| byte != 0) {
                    return Err(garbage());
                }
                let len = rest.len();
                blob.consume(len);
            }
            Ok(None)
        }
    }
}

/// Ends a stream that grows beyond all proportion: bytes out against the bytes of the blob.
#[derive(Debug)]
pub(crate) struct Bounded<R> {
    inner: R,
    len: u64,
    max: u64,
}

impl<R> Bounded<R> {
    /// `blob_bytes` is the size of the compressed blob.
    pub(crate) fn new(inner: R, blob_bytes: u64, limits: &Limits) -> Self {
        let by_ratio = blob_bytes.saturating_mul(limits.ratio).max(limits.ratio_from_bytes);
        Self { inner, len: 0, max: limits.layer_bytes.min(by_ratio) }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.len += u64::try_from(len).expect("usize fits in u64");
        if self.len > self.max {
            return Err(io::Error::other(format!("it becomes more than {} bytes, which is over the limit", self.max)));
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader(blob)?.0.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn all_members_and_all_frames_count() {
        assert_eq!(plain(&[gzip(b"one "), gzip(b"two")].concat()).unwrap(), b"one two");
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        assert_eq!(plain(&[skippable.clone(), frame(b"one "), skippable, frame(b"two")].concat()).unwrap(), b"one two");
        assert_eq!(plain(&[gzip(b"one "), gzip(b""), gzip(b"two"), vec![0; 700_000]].concat()).unwrap(), b"one two");
        assert_eq!(plain(b"tar").unwrap(), b"tar");
        assert_eq!(plain(b"").unwrap(), b"");
    }

    /// Gives a byte at a time.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }

    #[test]
    fn a_blob_is_what_it_is_however_little_of_it_comes_at_a_time() {
        for blob in [gzip(b"plain"), zstd::encode_all(&b"plain"[..], 3).unwrap(), b"plain".to_vec()] {
            let (mut reader, compression) = reader(Dripping(&blob)).unwrap();
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, b"plain", "{compression:?}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let good = gzip(&[7; 100_000]);
        assert!(plain(&good[..good.len() - 1]).is_err(), "cut off");
        let mut crc = good.clone();
        let at = crc.len() - 6;
        crc[at] ^= 1;
        assert!(plain(&crc).is_err(), "checksum");
        assert!(plain(&[&good[..], b"garbage"].concat()).is_err(), "garbage after the end");
        assert!(plain(&[&good[..], &[0; 700_000], b"x"].concat()).is_err(), "garbage after padding");
        assert!(plain(&[&good[..], &good[..9]].concat()).is_err(), "half a header");
        let frame = zstd::encode_all(&[7; 100_000][..], 3).unwrap();
        assert!(plain(&frame[..frame.len() - 1]).is_err(), "cut off frame");
    }

    #[test]
    fn growth_is_bounded() {
        let limits = Limits { ratio: 10, ratio_from_bytes: 100, ..Limits::default() };
        let read = |len: usize| Bounded::new(&vec![0; len][..], 20, &limits).read_to_end(&mut Vec::new());
        assert!(read(200).is_ok());
        assert!(read(201).is_err());
    }
}
