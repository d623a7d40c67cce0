//! Invariants, for any bytes taken for a blob, of which the first says what is done with the rest:
//!
//! - reading to the end never panics and never gives more than the limits allow;
//! - it gives the same with any size of the pieces that are asked for;
//! - what is taken for gzip or zstd is what a second, plain use of the libraries gives;
//! - what was compressed in any number of members or frames comes out again, and its every cut is an error.
#![no_main]

use std::io::{Read, Write};

use libfuzzer_sys::fuzz_target;
use ocilayers::Limits;

/// The most that comes of a blob here.
const PLAIN_MAX: u64 = 4 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((&mode, rest)) = bytes.split_first() else { return };
    match mode % 3 {
        0 => any_blob(rest),
        1 => round_trip(rest, gzip),
        _ => round_trip(rest, |plain| zstd::encode_all(plain, 1).expect("compresses")),
    }
});

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.layer_bytes = PLAIN_MAX;
    limits
}

fn any_blob(blob: &[u8]) {
    let whole = ocilayers::fuzzing::decompressed(blob, &limits(), 1 << 16);
    let pieces = ocilayers::fuzzing::decompressed(blob, &limits(), 7);
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert!(whole == pieces, "the size of the pieces changes nothing"),
        (Err(_), Err(_)) => return,
        _ => panic!("one is an error and the other is not: {whole:?} {pieces:?}"),
    }
    let whole = whole.expect("just seen");
    assert!(u64::try_from(whole.len()).expect("fits") <= PLAIN_MAX);
    let mut second = Vec::new();
    if blob.starts_with(&[0x1f, 0x8b]) {
        // Padding after the last member is an error for this reader.
        let padding = blob.iter().rev().take_while(|&&byte| byte == 0).count();
        for len in blob.len() - padding..=blob.len() {
            second.clear();
            if flate2::bufread::MultiGzDecoder::new(&blob[..len]).read_to_end(&mut second).is_ok() {
                break;
            }
        }
        assert!(second == whole, "gzip");
    } else if !blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) && !is_skippable(blob) {
        assert!(blob == whole, "plain");
    } else {
        zstd::stream::copy_decode(blob, &mut second).expect("it was taken");
        assert!(second == whole, "zstd");
    }
}

fn is_skippable(blob: &[u8]) -> bool {
    matches!(blob, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("compresses")
}

/// `plain` in two parts; its first two bytes say where it is cut, and where the blob is.
fn round_trip(plain: &[u8], compress: impl Fn(&[u8]) -> Vec<u8>) {
    let (at, cut) = match plain {
        [at, cut, ..] => (usize::from(*at) * plain.len() / 256, usize::from(*cut)),
        _ => return,
    };
    let (head, tail) = (compress(&plain[..at]), compress(&plain[at..]));
    let blob = [head.as_slice(), &tail].concat();
    let found = ocilayers::fuzzing::decompressed(&blob, &limits(), 4_096).expect("a good blob");
    assert!(found == plain, "what went in comes out");
    let end = head.len() + 1 + cut * (tail.len() - 2) / 256;
    let found = ocilayers::fuzzing::decompressed(&blob[..end], &limits(), 4_096);
    assert!(found.is_err(), "cut at {end} of {}", blob.len());
}
