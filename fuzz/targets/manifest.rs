//! Invariants, for any bytes taken for a manifest of chunks, as they are and behind a sound head:
//!
//! - reading never panics, and takes no more memory than the bytes are worth;
//! - what was read is written as the same bytes, so that a manifest has one digest (those of the version before are only read);
//! - its chunks are in its image, in order, in packs of sound names that it names, and each is found by its place.
#![no_main]

use imagechunks::{Manifest, PACKS_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&[b"ddchunks\x02", bytes].concat());
    check(&[b"ddchunks\x01", bytes].concat());
});

fn check(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(bytes) else { return };
    assert!(manifest.encode() == bytes || bytes[8] == 1, "it is written as it was read, but for the version before");
    assert!(manifest.packs().len() <= PACKS_MAX);
    for name in manifest.packs() {
        assert!(!name.is_empty() && !name.starts_with('.') && !name.contains('/'), "{name:?}");
    }
    let mut end = 0;
    for chunk in manifest.chunks() {
        assert!(chunk.place >= end && chunk.end() > chunk.place, "in order");
        assert!(chunk.end() <= manifest.image_bytes(), "in the image");
        end = chunk.end();
        assert!(chunk.pack < manifest.packs().len() && chunk.range().end > chunk.range().start);
        assert_eq!((manifest.chunk_at(chunk.place), manifest.chunk_at(end - 1)), (Some(chunk), Some(chunk)));
    }
    assert_eq!(manifest.bytes_of_packs().len(), manifest.packs().len());
}
