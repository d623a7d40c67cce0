//! What comes out is what went in, and no byte is fetched twice.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use imagechunks::{Cache, Error, FetchOptions, Manifest, PACKS_MAX, PackOptions, fetch};

use crate::common::{OPTIONS, Packs, image, names, noise, small};

#[test]
fn an_image_comes_back_with_its_holes() {
    let dir = tempfile::tempdir().unwrap();
    let mut packs = Packs::default();
    // Zeros that are written, content twice, a last chunk that is short.
    let one = noise(1, 100_000);
    let image =
        image((20 << 20) + 77, &[(4096, &one), (1 << 20, &[0; 9000]), (4096 * 1000, &one), (20 << 20, &[7; 77])]);
    let (manifest, packed) = packs.pack("a.1", &image, &[], &small());
    assert!(packed.new_chunks < packed.chunks, "{packed:?}");
    let manifest = Manifest::decode(&manifest.encode()).unwrap();
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let out = dir.path().join("out");
    let fetched = fetch(&manifest, &packs, &cache, &out, &OPTIONS).unwrap();
    assert!(fs::read(&out).unwrap() == image.1);
    assert!(fs::metadata(&out).unwrap().blocks() * 512 < 400_000);
    let probe = dir.path().join("probe");
    fs::write(&probe, "").unwrap();
    assert_eq!(fs::metadata(&out).unwrap().mode(), fs::metadata(&probe).unwrap().mode(), "that of any new file");
    fs::remove_file(probe).unwrap();
    assert_eq!((fetched.chunks_fetched, fetched.chunks_cached), (packed.new_chunks, 0));
    assert_eq!(fetched.bytes_fetched, packed.pack_bytes);
    assert_eq!(packs.bytes_read(), packed.pack_bytes);
    // Neighbours are one read.
    assert_eq!(fetched.reads, 1);

    let again = fetch(&manifest, &Packs::default(), &cache, &out, &OPTIONS).unwrap();
    assert_eq!((again.bytes_fetched, again.chunks_cached), (0, packed.new_chunks));
    assert!(fs::read(&out).unwrap() == image.1);
    assert_eq!(names(dir.path()), ["cache", "out"]);
}

/// In a directory where others may write, such as /tmp, somebody may have put it there.
#[test]
fn a_pipe_that_is_named_like_an_unfinished_file_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join(".out.x.fetching");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut packs = Packs::default();
    let image = image(1 << 20, &[(0, &noise(1, 100_000))]);
    let (manifest, _) = packs.pack("a.1", &image, &[], &small());
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let out = dir.path().join("out");
    fetch(&manifest, &packs, &cache, &out, &OPTIONS).unwrap();
    assert!(fs::read(&out).unwrap() == image.1);
    assert!(pipe.exists(), "it is not ours to remove");
}

#[test]
fn what_another_image_has_is_neither_packed_nor_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut packs = Packs::default();
    let (base, more) = (noise(1, 1 << 20), noise(2, 10_000));
    let first = image(4 << 20, &[(0, &base)]);
    let second = image(5 << 20, &[(4096, &base), (2 << 20, &more)]);
    let (one, _) = packs.pack("a.1", &first, &[], &small());
    let (two, packed) = packs.pack("b.1", &second, std::slice::from_ref(&one), &small());
    assert_eq!(packed.new_chunks, 3);
    assert_eq!(two.packs(), ["a.1", "b.1"]);
    let (same, packed) = packs.pack("c.1", &second, &[one.clone(), two.clone()], &small());
    assert_eq!((packed.new_chunks, packed.pack_bytes), (0, 0));
    assert_eq!(same, two);

    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let out = dir.path().join("out");
    fetch(&one, &packs, &cache, &out, &OPTIONS).unwrap();
    let fetched = fetch(&two, &packs, &cache, &out, &OPTIONS).unwrap();
    assert_eq!((fetched.chunks_fetched, fetched.bytes_fetched), (3, packs.packs["b.1"].len().try_into().unwrap()));
    assert!(fs::read(&out).unwrap() == second.1);
}

/// A file that was put before others, some that were put between them, and one that is gone: all else is where chunks can find it.
#[test]
fn content_that_moved_is_neither_packed_nor_fetched_again() {
    let (mut packs, content) = (Packs::default(), noise(1, 20 << 20));
    let cut = 9 << 20;
    let first = image(64 << 20, &[(1 << 20, &content)]);
    let (before, between) = (noise(2, 5 * 4096), noise(3, 3 * 4096));
    let start = 4096 * 7;
    let (middle, behind) = (start + before.len(), start + before.len() + cut + between.len());
    let parts: [(usize, &[u8]); 4] =
        [(start, &before), (middle, &content[..cut]), (middle + cut, &between), (behind, &content[cut + 4096..])];
    let second = image(64 << 20, &parts);
    let options = PackOptions { threads: 2, ..PackOptions::default() };
    let (one, packed) = packs.pack("a.1", &first, &[], &options);
    assert!((240..400).contains(&packed.chunks), "{packed:?}");
    let (two, packed) = packs.pack("b.1", &second, std::slice::from_ref(&one), &options);
    assert!(packed.pack_bytes < 700_000, "of 20 MiB: {packed:?}");
    let dir = tempfile::tempdir().unwrap();
    let (cache, out) = (Cache::open(dir.path().join("cache"), 1 << 30).unwrap(), dir.path().join("out"));
    for (manifest, image) in [(&one, first), (&two, second)] {
        fetch(manifest, &packs, &cache, &out, &OPTIONS).unwrap();
        assert!(fs::read(&out).unwrap() == image.1);
    }
}

#[test]
fn holes_and_zeros_that_are_there_are_the_same() {
    let (mut packs, content) = (Packs::default(), noise(4, 300_000));
    let zeros = vec![0; 4 << 20];
    let places = [0, 304 << 10, 1 << 20, 3 << 20].map(|at: usize| (at, &content[..]));
    let sparse = image(4 << 20, &places);
    let full = image(4 << 20, &[&[(0, &zeros[..])][..], &places].concat());
    let options = PackOptions { threads: 1, ..PackOptions::default() };
    let made = [sparse, full].map(|image| packs.pack("a.1", &image, &[], &options).0.encode());
    assert!(made[0] == made[1]);
}

#[test]
fn the_bytes_are_the_same_at_any_number_of_threads() {
    let (mut packs, content) = (Packs::default(), noise(3, 3 << 20));
    let image = image(40 << 20, &[(0, &content), (20 << 20, &content[..1 << 20]), (30 << 20, &noise(4, 1 << 20))]);
    let made = [1, 2, 8].map(|threads| {
        let (manifest, _) = packs.pack("a.1", &image, &[], &PackOptions { threads, ..small() });
        (manifest.encode(), packs.packs["a.1"].clone())
    });
    assert!(made[0] == made[1] && made[1] == made[2]);
}

#[test]
fn images_have_a_bounded_number_of_packs() {
    let mut packs = Packs::default();
    let mut content = Vec::new();
    let mut known: Vec<Manifest> = Vec::new();
    for version in 0..PACKS_MAX + 10 {
        content.extend(noise(version.try_into().unwrap(), 4096 * (1 + version % 3)));
        let image = image(content.len(), &[(0, &content)]);
        let (manifest, packed) = packs.pack(&format!("a.{version}"), &image, &known, &small());
        // What lies in a pack too many is packed again: of the smallest.
        assert!(packed.new_chunks <= 4, "{version}: {packed:?}");
        known = vec![manifest];
    }
    assert_eq!(known[0].packs().len(), PACKS_MAX);
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    fetch(&known[0], &packs, &cache, &dir.path().join("out"), &OPTIONS).unwrap();
    assert!(fs::read(dir.path().join("out")).unwrap() == content);
}

#[test]
fn an_empty_image_and_one_of_zeros_need_no_pack() {
    let dir = tempfile::tempdir().unwrap();
    for len in [0, 1, 4096, (1 << 20) + 5] {
        let image = image(len, &[]);
        let (manifest, packed) = Packs::default().pack("a.1", &image, &[], &small());
        assert_eq!((packed.chunks, manifest.packs().len()), (0, 0));
        let manifest = Manifest::decode(&manifest.encode()).unwrap();
        let (cache, out) = (Cache::open(dir.path().join("cache"), 0).unwrap(), dir.path().join("out"));
        fetch(&manifest, &Packs::default(), &cache, &out, &OPTIONS).unwrap();
        assert!(fs::read(&out).unwrap() == image.1);
    }
}

#[test]
fn what_stands_beside_the_image_before_goes_when_the_new_one_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let mut packs = Packs::default();
    let image = image(1 << 20, &[(0, &noise(9, 200_000))]);
    let (manifest, _) = packs.pack("a.1", &image, &[], &small());
    let (cache, out) = (Cache::open(dir.path().join("cache"), 1 << 30).unwrap(), dir.path().join("out"));
    fs::write(&out, "before").unwrap();
    let calls = AtomicUsize::new(0);
    let refuse = || {
        calls.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::other("not now"))
    };
    let options = FetchOptions { complete: &refuse, ..OPTIONS };
    let nowhere = Cache::open(dir.path().join("empty"), 1 << 30).unwrap();
    assert!(fetch(&manifest, &Packs::default(), &nowhere, &out, &options).is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 0, "a fetch that failed before");
    let error = fetch(&manifest, &packs, &cache, &out, &options).unwrap_err();
    assert!(matches!(&error, Error::File { source, .. } if source.to_string() == "not now"), "{error:?}");
    assert_eq!((calls.load(Ordering::SeqCst), fs::read(&out).unwrap()), (1, b"before".to_vec()));
    let seen = || {
        assert_eq!(fs::read(&out).unwrap(), b"before");
        Ok(())
    };
    fetch(&manifest, &packs, &cache, &out, &FetchOptions { complete: &seen, ..OPTIONS }).unwrap();
    assert!(fs::read(&out).unwrap() == image.1);
}

/// Some to one name, some to others, all with one cache.
#[test]
fn many_may_fetch_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut packs = Packs::default();
    let image = image(3 << 20, &[(0, &noise(5, 3 << 20))]);
    let (manifest, _) = packs.pack("a.1", &image, &[], &small());
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (manifest, packs, dir) = (&manifest, &packs, dir.path());
            scope.spawn(move || {
                let cache = Cache::open(dir.join("cache"), 1 << 30).unwrap();
                fetch(manifest, packs, &cache, &dir.join(format!("out{}", number % 2)), &OPTIONS).unwrap();
                assert!(cache.take_failure().is_none());
            });
        }
    });
    assert_eq!(names(dir.path()), ["cache", "out0", "out1"]);
    for out in ["out0", "out1"] {
        assert!(fs::read(dir.path().join(out)).unwrap() == image.1);
    }
}

#[test]
fn progress_ends_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut packs = Packs::default();
    let image = image(1 << 20, &[(0, &noise(6, 200_000)), (500_000, &noise(7, 100_000))]);
    let (manifest, packed) = packs.pack("a.1", &image, &[], &small());
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let most = std::sync::Mutex::new((0, 0));
    let told = |progress: imagechunks::Progress| {
        let mut most = most.lock().unwrap();
        *most = (*most).max((progress.bytes_done, progress.bytes_total));
    };
    let options = FetchOptions { progress: &told, ..OPTIONS };
    fetch(&manifest, &packs, &cache, &dir.path().join("out"), &options).unwrap();
    assert_eq!(*most.lock().unwrap(), (packed.chunks * 4096, packed.chunks * 4096));
}
