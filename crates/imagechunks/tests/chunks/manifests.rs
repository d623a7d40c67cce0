//! Manifests of any image come back, and anybody's bytes are refused or have one meaning.

use imagechunks::{Cache, Digest, Error, FetchOptions, Manifest, PackOptions, fetch};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::{OPTIONS, Packs, image, noise, small};

/// A manifest with runs, a chunk twice, and two packs.
fn sample() -> Vec<u8> {
    let mut packs = Packs::default();
    let (one, two) = (noise(1, 20_000), noise(2, 9_000));
    let (first, _) = packs.pack("tpl_1.1", &image(1 << 20, &[(0, &one)]), &[], &small());
    let second = image((1 << 20) + 9, &[(8192, &one), (200_000, &two), (409_600, &one)]);
    packs.pack("tpl_2.1", &second, &[first], &small()).0.encode()
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
}

/// What a manifest begins with: of this version, or of the one before with chunks of that size.
fn head(fixed_log2: Option<u8>, image_bytes: u64) -> Vec<u8> {
    let mut bytes = b"ddchunks".to_vec();
    match fixed_log2 {
        None => bytes.push(2),
        Some(log2) => bytes.extend([1, log2]),
    }
    put(&mut bytes, image_bytes);
    bytes
}

/// A manifest of chunks of one block as the version before wrote it.
fn fixed(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = head(Some(12), manifest.image_bytes());
    bytes.extend(manifest.image_digest().as_bytes());
    put(&mut bytes, manifest.packs().len().try_into().unwrap());
    for name in manifest.packs() {
        bytes.push(name.len().try_into().unwrap());
        bytes.extend(name.as_bytes());
    }
    let (mut at, mut end) = (0, 0);
    let indexes: Vec<u64> = manifest.chunks().iter().map(|chunk| chunk.place / 4096).collect();
    for run in indexes.chunk_by(|one, next| one + 1 == *next) {
        put(&mut bytes, run[0] - at);
        put(&mut bytes, run.len().try_into().unwrap());
        at = run[run.len() - 1] + 1;
    }
    let all = manifest.image_bytes().div_ceil(4096);
    if at < all {
        put(&mut bytes, all - at);
        put(&mut bytes, 0);
    }
    for chunk in manifest.chunks() {
        bytes.extend(chunk.digest.as_bytes());
        put(&mut bytes, chunk.pack.try_into().unwrap());
        // One pack: what is there twice lies before.
        let ahead = |to: u64, from: u64| if to >= from { (to - from) << 1 } else { ((from - to) << 1) - 1 };
        put(&mut bytes, ahead(chunk.offset, end));
        put(&mut bytes, chunk.bytes.into());
        end = chunk.range().end;
    }
    bytes
}

#[test]
fn manifests_of_the_version_before_are_read() {
    let one = noise(1, 30_000);
    let image = image((1 << 20) + 9, &[(8192, &one), (200_704, &one), (1 << 20, &[7; 9])]);
    let (manifest, _) = Packs::default().pack("tpl_1.1", &image, &[], &small());
    let bytes = fixed(&manifest);
    assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    for end in 0..bytes.len() {
        assert!(matches!(Manifest::decode(&bytes[..end]), Err(Error::Manifest(_) | Error::PackName(_))), "{end}");
    }
}

#[test]
fn chunks_are_claimed_by_bytes_that_are_there_and_by_none_twice() {
    // Each of so many runs has as many chunks as the bytes behind all of them could be.
    let (runs, chunks) = (100_u64, 50_u64);
    let mut bytes = head(Some(12), runs * chunks * 4096);
    bytes.extend([0; 32]);
    bytes.extend([1, 1, b'a']);
    for _ in 0..runs {
        put(&mut bytes, 0);
        put(&mut bytes, chunks);
    }
    // The first of them lies in a pack that is not named: whoever comes so far has taken all claims for true.
    bytes.extend([0xff; 50 * 35]);
    let error = Manifest::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("breaks off"), "{error}");
}

/// What a manifest that was accepted must stand: it is used as a host would use it, with a source that has nothing.
fn used(manifest: &Manifest) {
    let encoded = manifest.encode();
    assert_eq!(Manifest::decode(&encoded).unwrap().digest(), Digest::of(&encoded));
    let mut end = 0;
    for chunk in manifest.chunks() {
        assert!(chunk.place >= end && chunk.end() > chunk.place && chunk.end() <= manifest.image_bytes());
        assert!(chunk.pack < manifest.packs().len());
        end = chunk.end();
        assert_eq!((manifest.chunk_at(chunk.place), manifest.chunk_at(end - 1)), (Some(chunk), Some(chunk)));
    }
    for place in [manifest.image_bytes() + 16_777_216, u64::MAX] {
        assert_eq!(manifest.chunk_at(place), None);
    }
    assert_eq!(manifest.bytes_of_packs().len(), manifest.packs().len());
    if manifest.image_bytes() < 1 << 24 {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1 << 20).unwrap();
        let options = FetchOptions { threads: 1, ..OPTIONS };
        assert!(fetch(manifest, &Packs::default(), &cache, &dir.path().join("out"), &options).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_refused_or_mean_something(changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4), end in any::<Option<Index>>()) {
        let mut bytes = sample();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert!(manifest.encode() == bytes || bytes[8] == 1);
            used(&manifest);
        }
    }

    #[test]
    fn anything_after_a_sound_head_is_refused_or_means_something(
        log2 in prop_oneof![Just(None), (11..26_u8).prop_map(Some)],
        image_bytes in prop_oneof![0..100_000_u64, any::<u64>()],
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = head(log2, image_bytes);
        bytes.extend([0; 32]);
        bytes.extend(rest);
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert!(manifest.encode() == bytes || log2.is_some());
            used(&manifest);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_image_comes_back(
        len in 0..600_000_usize,
        parts in prop::collection::vec((0..600_000_usize, 0..60_000_usize, 0..3_u64), 0..6),
        blocks in 1..20_u32,
    ) {
        let parts: Vec<(usize, Vec<u8>)> = parts
            .into_iter()
            .filter(|(at, _, _)| *at < len)
            .map(|(at, part, seed)| (at, noise(seed, part.min(len - at))))
            .collect();
        let parts: Vec<(usize, &[u8])> = parts.iter().map(|(at, part)| (*at, part.as_slice())).collect();
        let image = image(len, &parts);
        let mut packs = Packs::default();
        let options = PackOptions { chunk_bytes: blocks * 4096, threads: 2, ..PackOptions::default() };
        let (manifest, _) = packs.pack("a.1", &image, &[], &options);
        let manifest = Manifest::decode(&manifest.encode()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
        fetch(&manifest, &packs, &cache, &dir.path().join("out"), &OPTIONS).unwrap();
        prop_assert!(std::fs::read(dir.path().join("out")).unwrap() == image.1);
    }
}

#[test]
fn what_is_no_manifest_is_refused_with_a_reason() {
    let sound = sample();
    let of = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        match Manifest::decode(&bytes) {
            Err(error @ Error::Manifest(_)) => error.to_string(),
            Err(error @ Error::PackName(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(Change<'_>, &str); 10] = [
        (&|bytes| bytes.clear(), "breaks off"),
        (&|bytes| bytes[0] = b'x', "does not begin"),
        (&|bytes| bytes[8] = 3, "version 3"),
        (&|bytes| bytes[8] = 1, "size that none can have"),
        (&|bytes| bytes.push(0), "more after its end"),
        (&|bytes| bytes.truncate(300), "breaks off"),
        // The first name begins behind the head, the number of packs and its length.
        (&|bytes| bytes[8 + 1 + 3 + 32 + 2] = b'/', "can't be the name of a pack"),
        (&|bytes| bytes[8 + 1 + 3 + 32] = 70, "packs"),
        // Behind two names of seven bytes and the number of chunks: the blocks of the first.
        (&|bytes| bytes[8 + 1 + 3 + 32 + 1 + 2 * 8 + 1 + 1] = 0, "do not fit its image"),
        (&|bytes| bytes[8 + 1 + 3 + 32 + 1 + 2 * 8] = 0x7f, "breaks off"),
    ];
    for (change, expected) in cases {
        let said = of(change);
        assert!(said.contains(expected), "{said}, not {expected}");
    }
}

#[test]
fn names_and_sizes_that_can_not_be_are_refused() {
    let image = image(4096, &[(0, &[1; 4096])]);
    for name in ["", ".hidden", "a/b", "..", "a b", "ä", &"x".repeat(201)] {
        let packed = imagechunks::pack(&image.0, Digest::of(&image.1), &[], name, &mut Vec::new(), &small());
        assert!(matches!(packed, Err(Error::PackName(_))), "{name}");
    }
    for chunk_bytes in [0, 1, 2048, 4097, 65_535, (4 << 20) + 4096] {
        let options = PackOptions { chunk_bytes, ..small() };
        let packed = imagechunks::pack(&image.0, Digest::of(&image.1), &[], "a", &mut Vec::new(), &options);
        assert!(matches!(packed, Err(Error::ChunkBytes(_))), "{chunk_bytes}");
    }
    for text in ["", "00", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65)] {
        assert!(matches!(text.parse::<Digest>(), Err(Error::Digest)), "{text}");
    }
    let digest = Digest::of(b"");
    assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
}
