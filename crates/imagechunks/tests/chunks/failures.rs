//! Sources that fail and lie, places that are full: a clear error, nothing under the name, and the next fetch does what is left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use imagechunks::{Cache, Chunk, Digest, Error, FetchOptions, Manifest, PackOptions, fetch};

use crate::common::{Changed, OPTIONS, Packs, image, names, noise, small};

/// An image whose pack takes a handful of reads.
fn packed() -> (Packs, Manifest, Vec<u8>) {
    let mut packs = Packs::default();
    let image = image(9 << 20, &[(0, &noise(1, 9 << 20))]);
    let (manifest, _) = packs.pack("a.1", &image, &[], &PackOptions { chunk_bytes: 32 << 10, ..small() });
    (packs, manifest, image.1)
}

#[test]
fn a_source_that_fails_is_asked_only_for_the_rest() {
    let (packs, manifest, content) = packed();
    let pack_bytes = u64::try_from(packs.packs["a.1"].len()).unwrap();
    let options = FetchOptions { threads: 1, ..OPTIONS };
    for failing in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (cache, out) = (Cache::open(dir.path().join("cache"), 1 << 30).unwrap(), dir.path().join("out"));
        fs::write(&out, "what was there before").unwrap();
        let source = Changed::new(&packs, |number, bytes| match number == failing {
            true => Err(io::Error::other("the line is cut")),
            false => Ok(bytes),
        });
        match fetch(&manifest, &source, &cache, &out, &options) {
            Ok(_) => {
                assert!(failing > 3, "there are several reads");
                return;
            }
            Err(Error::Source { pack, source, .. }) => assert!(pack == "a.1" && source.to_string().contains("cut")),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(fs::read(&out).unwrap(), b"what was there before");
        assert_eq!(names(dir.path()), ["cache", "out"]);
        let rest = fetch(&manifest, &packs, &cache, &out, &options).unwrap();
        let (done, all) = (rest.chunks_cached, rest.chunks_cached + rest.chunks_fetched);
        assert_eq!((done > 0, all), (failing > 0, manifest.chunks().len().try_into().unwrap()), "read {failing}");
        assert!(
            rest.bytes_fetched <= pack_bytes - u64::try_from(failing).unwrap() * (1 << 20),
            "read {failing}: {rest:?}"
        );
        assert!(fs::read(&out).unwrap() == content);
    }
}

#[test]
fn wrong_bytes_are_refused() {
    let (mut packs, manifest, _) = packed();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let refused = |packs: &Packs, case: &str| {
        let cache = Cache::open(dir.path().join(case), 1 << 30).unwrap();
        let error = fetch(&manifest, packs, &cache, &out, &OPTIONS).unwrap_err();
        assert!(matches!(&error, Error::Chunk { pack, .. } if pack == "a.1"), "{case}: {error}");
        assert!(!out.exists());
    };
    let sound = packs.packs["a.1"].clone();
    for at in [0, 5, 4000, sound.len() / 2, sound.len() - 1] {
        packs.packs.get_mut("a.1").unwrap()[at] ^= 0x10;
        refused(&packs, &format!("byte-{at}"));
        packs.packs.insert("a.1".to_owned(), sound.clone());
    }
    packs.packs.insert("a.1".to_owned(), vec![0; sound.len()]);
    refused(&packs, "zeros");
    // Another chunk's frame in its place: sound in itself.
    let mut swapped = sound.clone();
    let same = |one: &&Chunk| manifest.chunks().iter().filter(|other| other.bytes == one.bytes).count() > 1;
    let one = manifest.chunks().iter().find(same).unwrap();
    let other = manifest.chunks().iter().find(|other| other.bytes == one.bytes && *other != one).unwrap().range();
    let one = one.range();
    let at = |at: u64| usize::try_from(at).unwrap();
    swapped.copy_within(at(other.start)..at(other.end), at(one.start));
    packs.packs.insert("a.1".to_owned(), swapped);
    refused(&packs, "swapped");
}

#[test]
fn too_few_or_too_many_bytes_are_refused() {
    let (packs, manifest, _) = packed();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for len in [-1_isize, 1, isize::MIN] {
        let source = Changed::new(&packs, |_, mut bytes: Vec<u8>| {
            bytes.resize(bytes.len().saturating_add_signed(len), 0);
            Ok(bytes)
        });
        let cache = Cache::open(dir.path().join(format!("cache{len}")), 1 << 30).unwrap();
        let error = fetch(&manifest, &source, &cache, &out, &OPTIONS).unwrap_err();
        assert!(matches!(error, Error::Short { .. }), "{error}");
        assert!(!out.exists());
    }
}

/// A frame of a few bytes that claims to hold a gigabyte is given the room of one chunk.
#[test]
fn a_frame_that_grows_is_refused() {
    let (mut packs, manifest, _) = packed();
    let bomb = zstd::bulk::compress(&vec![1; 64 << 20], 3).unwrap();
    let first = manifest.chunks()[0].range();
    let room = usize::try_from(first.end).unwrap();
    // The rest of the range is a frame to be skipped: 0x184D2A50, and how much.
    let mut frame = bomb.clone();
    frame.truncate(room - 8);
    let skipped = u32::try_from(room - frame.len() - 8).unwrap();
    frame.extend(0x184D_2A50_u32.to_le_bytes());
    frame.extend(skipped.to_le_bytes());
    frame.resize(room, 0);
    packs.packs.get_mut("a.1").unwrap()[..room].copy_from_slice(&frame);
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let error = fetch(&manifest, &packs, &cache, &dir.path().join("out"), &OPTIONS).unwrap_err();
    assert!(matches!(error, Error::Chunk { .. }), "{error}");
}

/// Sound chunks, and a manifest that says they are another image.
#[test]
fn a_manifest_that_is_wrong_as_a_whole_is_refused() {
    let mut packs = Packs::default();
    let image = image(1 << 20, &[(4096, &noise(1, 99_999))]);
    let mut out = Vec::new();
    let wrong = Digest::of(b"another image");
    let (manifest, _) = imagechunks::pack(&image.0, wrong, &[], "a.1", &mut out, &small()).unwrap();
    packs.packs.insert("a.1".to_owned(), out);
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let error = fetch(&manifest, &packs, &cache, &dir.path().join("out"), &OPTIONS).unwrap_err();
    let right = Digest::of(&image.1);
    assert!(matches!(error, Error::Whole { expected, found } if expected == wrong && found == right), "{error}");
    assert_eq!(names(dir.path()), ["cache"]);
}

#[test]
fn cancelled_at_any_moment_it_leaves_nothing() {
    let (packs, manifest, _) = packed();
    let dir = tempfile::tempdir().unwrap();
    for stop in [0, 1, 3] {
        let cancel = AtomicBool::new(stop == 0);
        let cache = Cache::open(dir.path().join(format!("cache{stop}")), 1 << 30).unwrap();
        let source = Changed::new(&packs, |number, bytes| {
            cancel.fetch_or(number + 1 == stop, Ordering::SeqCst);
            Ok(bytes)
        });
        let options = FetchOptions { threads: 1, cancel: &cancel, ..OPTIONS };
        let error = fetch(&manifest, &source, &cache, &dir.path().join("out"), &options).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert!(names(dir.path()).iter().all(|name| name.starts_with("cache")));
    }
}

#[test]
fn a_damaged_cache_is_not_believed() {
    let (packs, manifest, content) = packed();
    let dir = tempfile::tempdir().unwrap();
    let (cache, out) = (Cache::open(dir.path().join("cache"), 1 << 30).unwrap(), dir.path().join("out"));
    fetch(&manifest, &packs, &cache, &out, &OPTIONS).unwrap();
    let shards = names(&dir.path().join("cache")).into_iter().map(|shard| dir.path().join("cache").join(shard));
    let mut files: Vec<PathBuf> =
        shards.flat_map(|shard| names(&shard).into_iter().map(move |name| shard.join(name))).collect();
    // Large ones, since half of a chunk of a few bytes may be all that counts.
    files.sort_by_key(|file| std::cmp::Reverse(fs::metadata(file).unwrap().len()));
    let damage: [&dyn Fn(&Path); 4] = [
        &|path| fs::write(path, "").unwrap(),
        &|path| fs::write(path, "other bytes").unwrap(),
        &|path| {
            let content = fs::read(path).unwrap();
            fs::write(path, &content[..content.len() / 2]).unwrap();
        },
        &|path| fs::write(path, zstd::bulk::compress(&[9; 32 << 10], 3).unwrap()).unwrap(),
    ];
    for (damage, file) in damage.iter().zip(&files) {
        damage(file);
    }
    let again = fetch(&manifest, &packs, &cache, &out, &OPTIONS).unwrap();
    assert_eq!(again.chunks_fetched, 4);
    assert!(fs::read(&out).unwrap() == content);
    assert_eq!(fetch(&manifest, &packs, &cache, &out, &OPTIONS).unwrap().chunks_fetched, 0);
}

#[test]
fn a_cache_that_keeps_nothing_is_no_failure() {
    let (packs, manifest, content) = packed();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    // Where a chunk would go is a file.
    for shard in 0..64 {
        fs::write(dir.path().join("cache").join(format!("{shard:02x}")), "").unwrap();
    }
    fetch(&manifest, &packs, &cache, &out, &OPTIONS).unwrap();
    assert!(fs::read(&out).unwrap() == content);
    assert!(matches!(cache.take_failure(), Some(Error::File { .. })));
    assert!(cache.take_failure().is_none());
}

/// A file system of so many bytes that goes with this.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(bytes: u64) -> Option<Self> {
        if !drydock_tests::privileged(&["mount", "umount"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        drydock_tests::run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "chunks"]).arg(dir.path()));
        Some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).output());
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let Some(small) = Small::mount(4 << 20) else { return };
    let (packs, manifest, content) = packed();
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let error = fetch(&manifest, &packs, &cache, &small.0.path().join("out"), &OPTIONS).unwrap_err();
    assert!(matches!(&error, Error::File { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error:?}");
    assert_eq!(names(small.0.path()), [""; 0]);

    // A cache on a full disk keeps what there is room for.
    let cache = Cache::open(small.0.path().join("cache"), 1 << 30).unwrap();
    fetch(&manifest, &packs, &cache, &dir.path().join("out"), &OPTIONS).unwrap();
    assert!(fs::read(dir.path().join("out")).unwrap() == content);
    let failure = cache.take_failure();
    assert!(matches!(&failure, Some(Error::File { source, .. }) if source.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn a_name_that_is_no_files_is_left_alone() {
    let (packs, manifest, _) = packed();
    let dir = tempfile::tempdir().unwrap();
    let (cache, out) = (Cache::open(dir.path().join("cache"), 1 << 30).unwrap(), dir.path().join("out"));
    std::os::unix::fs::symlink("/dev/null", &out).unwrap();
    let refused = fetch(&manifest, &packs, &cache, &out, &OPTIONS).unwrap_err();
    assert!(std::error::Error::source(&refused).unwrap().to_string().contains("is not a file"), "{refused}");
    assert_eq!(names(dir.path()), ["cache", "out"]);
    assert!(fs::symlink_metadata(&out).unwrap().is_symlink());
}
