//! An image read by offset that is not there.

use std::io;
use std::sync::Arc;

use imagechunks::{Cache, Error, Lazy};
use proptest::prelude::*;

use crate::common::{Changed, Packs, image, noise, small};

const LEN: usize = (1 << 20) + 123;

fn packed() -> (Packs, imagechunks::Manifest, Vec<u8>) {
    let mut packs = Packs::default();
    let image = image(LEN, &[(0, &noise(1, 50_000)), (300_000, &noise(2, 100_000)), (LEN - 5000, &noise(3, 5000))]);
    let (manifest, _) = packs.pack("a.1", &image, &[], &small());
    (packs, manifest, image.1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_read_is_that_of_the_image(reads in prop::collection::vec((0..LEN + 9000, 0..70_000_usize), 1..20)) {
        let (packs, manifest, content) = packed();
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(dir.path(), 1 << 30).unwrap());
        let lazy = Lazy::new(manifest, &packs, cache);
        for (at, len) in reads {
            let mut buffer = vec![0xaa; len];
            let read = lazy.read_at(&mut buffer, at.try_into().unwrap()).unwrap();
            let expected = &content[at.min(LEN)..(at + len).min(LEN)];
            prop_assert_eq!(read, expected.len());
            prop_assert!(&buffer[..read] == expected && buffer[read..].iter().all(|&byte| byte == 0xaa));
        }
        // No chunk twice, but for what lies between two that are read together.
        let (pack, reads) = (packs.packs["a.1"].len(), packs.reads.lock().unwrap().len());
        prop_assert!(packs.bytes_read() <= u64::try_from(pack + reads * (32 << 10)).unwrap());
    }
}

#[test]
fn a_small_read_costs_one_chunk_and_neighbours_one_read() {
    let (packs, manifest, content) = packed();
    let dir = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(dir.path(), 1 << 30).unwrap());
    let lazy = Lazy::new(manifest.clone(), &packs, Arc::clone(&cache));
    let mut byte = [0];
    assert_eq!(lazy.read_at(&mut byte, 300_000).unwrap(), 1);
    assert_eq!(byte[0], content[300_000]);
    assert!(packs.bytes_read() < 4200);
    assert_eq!(lazy.read_at(&mut byte, 200_000).unwrap(), 1);
    assert_eq!((byte[0], packs.reads.lock().unwrap().len()), (0, 1), "zeros are known");
    let mut buffer = vec![0; 90_000];
    assert_eq!(lazy.read_at(&mut buffer, 305_000).unwrap(), 90_000);
    assert!(buffer == content[305_000..395_000]);
    assert_eq!(packs.reads.lock().unwrap().len(), 2);
    // What was read is in the cache, for a process that has nothing else.
    let none = Packs::default();
    let lazy = Lazy::new(manifest, &none, cache);
    assert_eq!(lazy.read_at(&mut buffer, 305_000).unwrap(), 90_000);
    assert!(buffer == content[305_000..395_000]);
    assert!(matches!(lazy.read_at(&mut buffer, 0), Err(Error::Source { .. })));
}

#[test]
fn reads_one_after_the_other_need_few_of_the_source() {
    let mut packs = Packs::default();
    let image = image(4 << 20, &[(0, &noise(4, 4 << 20))]);
    let (manifest, _) = packs.pack("a.1", &image, &[], &small());
    let dir = tempfile::tempdir().unwrap();
    let lazy = Lazy::new(manifest, &packs, Arc::new(Cache::open(dir.path(), 1 << 30).unwrap()));
    let mut buffer = vec![0; 16 << 10];
    for at in (0..4 << 20).step_by(buffer.len()) {
        assert_eq!(lazy.read_at(&mut buffer, at.try_into().unwrap()).unwrap(), buffer.len());
        assert!(buffer == image.1[at..at + buffer.len()], "{at}");
    }
    assert_eq!(packs.bytes_read(), u64::try_from(packs.packs["a.1"].len()).unwrap(), "nothing twice");
    let reads = packs.reads.lock().unwrap().len();
    assert!(reads <= 6, "{reads}");
}

#[test]
fn a_read_that_failed_may_be_tried_again() {
    let (packs, manifest, content) = packed();
    let dir = tempfile::tempdir().unwrap();
    let source = Changed::new(&packs, |number, mut bytes: Vec<u8>| match number {
        0 => Err(io::ErrorKind::TimedOut.into()),
        1 => {
            bytes[9] ^= 1;
            Ok(bytes)
        }
        _ => Ok(bytes),
    });
    let lazy = Lazy::new(manifest, source, Arc::new(Cache::open(dir.path(), 1 << 30).unwrap()));
    let mut buffer = vec![0; 100];
    assert!(matches!(lazy.read_at(&mut buffer, 10), Err(Error::Source { .. })));
    assert!(matches!(lazy.read_at(&mut buffer, 10), Err(Error::Chunk { .. })));
    assert_eq!(lazy.read_at(&mut buffer, 10).unwrap(), 100);
    assert!(buffer == content[10..110]);
}
