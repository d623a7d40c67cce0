//! What the fuzz targets reach and nobody else: this module is there with `--cfg fuzzing` alone.

use std::io::{self, Read};

use crate::decompress::{self, Bounded};
use crate::limits::Limits;

/// The plain bytes of `blob`, asked for in pieces of `piece` bytes.
///
/// # Errors
/// As a layer would have: damage, or more than the limits allow.
pub fn decompressed(blob: &[u8], limits: &Limits, piece: usize) -> io::Result<Vec<u8>> {
    let blob_bytes = u64::try_from(blob.len()).expect("usize fits in u64");
    let (reader, _) = decompress::reader(blob)?;
    let mut bounded = Bounded::new(reader, blob_bytes, limits);
    let (mut plain, mut buffer) = (Vec::new(), vec![0; piece]);
    while let len @ 1.. = bounded.read(&mut buffer)? {
        plain.extend_from_slice(&buffer[..len]);
    }
    Ok(plain)
}
