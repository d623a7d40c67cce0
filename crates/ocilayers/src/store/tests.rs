use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fstree::{Addition, Content, Kind, Metadata, Node, Segment, Sources, TreePath};

use super::*;
use crate::flatten;

/// The bytes that all files of these tests are cut from.
fn bytes() -> Vec<u8> {
    (0..100_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Files of those sizes, and a sparse one.
fn files(sizes: &[u64]) -> Diff {
    let mut sources = Sources::default();
    let source = sources.add(Arc::new(bytes()));
    let run = |file_offset, len_bytes| Segment { file_offset, source, source_offset: file_offset / 2, len_bytes };
    let sparse = Content::sparse(60_000, vec![run(0, 10), run(4_096, 5_000), run(50_000, 3)]).unwrap();
    let contents = sizes.iter().map(|&len| Content::stored(source, 0, len)).chain([sparse]);
    let addition = |(number, content): (usize, Content)| Addition::Entry {
        path: TreePath::parse(format!("f{number:02}").as_bytes()).unwrap(),
        node: Node { metadata: Metadata::default(), kind: Kind::File(content) },
    };
    Diff { additions: contents.enumerate().map(addition).collect(), sources, ..Diff::default() }
}

fn store(dir: &Path) -> Store {
    Store::open(dir, Limits::default()).unwrap()
}

fn tar_of(layer: &Layer) -> Vec<u8> {
    let mut tar = Vec::new();
    layer.reader().read_to_end(&mut tar).unwrap();
    tar
}

#[test]
fn a_tar_is_given_again_byte_for_byte_and_its_large_files_start_at_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let diff = files(&[0, 1, 511, 512, 4_095, 4_096, 4_097, 65_536, 1, 99_999]);
    let mut expected = Vec::new();
    fstree::tar::write_additions(&diff.additions, &diff.sources, &mut expected).unwrap();
    store.commit(&diff).unwrap();
    let layer = store.get(&Digest::of(&expected)).unwrap().expect("kept just now");
    assert!(tar_of(&layer) == expected);
    assert_eq!(layer.size_bytes(), u64::try_from(expected.len()).unwrap());

    let tree = flatten(&[layer], &Limits::default()).unwrap();
    for &id in tree.entries(fstree::Tree::ROOT).unwrap().values() {
        let Kind::File(content) = &tree.node(id).kind else { panic!("only files") };
        for run in content.segments().iter().filter(|run| run.len_bytes >= 64 << 10) {
            assert_eq!(run.source_offset % 4_096, 0);
        }
        for run in content.segments() {
            let mut found = vec![0; usize::try_from(run.len_bytes).unwrap()];
            tree.sources.get(run.source).read_exact_at(&mut found, run.source_offset).unwrap();
            let start = usize::try_from(run.file_offset / 2).unwrap();
            assert!(found == bytes()[start..start + found.len()]);
        }
    }
}

#[test]
fn what_is_damaged_is_not_there_and_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (diff, tar) = (files(&[9_000]), |layer: &Layer| tar_of(layer));
    let layer = store.commit(&diff).unwrap();
    let (expected, diff_id) = (tar(&layer), *layer.diff_id());
    drop(layer);
    let place = dir.path().join(diff_id.hex());
    let index = fs::read(place.join("index")).unwrap();
    let damages: [&dyn Fn(); 5] = [
        &|| {
            let mut other = index.clone();
            other[3] ^= 1;
            fs::write(place.join("index"), other).unwrap();
        },
        &|| fs::write(place.join("index"), &index[..index.len() - 1]).unwrap(),
        &|| fs::write(place.join("index"), b"").unwrap(),
        &|| fs::remove_file(place.join("index")).unwrap(),
        &|| fs::File::options().write(true).open(place.join("content")).unwrap().set_len(1).unwrap(),
    ];
    for damage in damages {
        damage();
        assert!(store.get(&diff_id).unwrap().is_none());
        assert!(tar(&store.commit(&diff).unwrap()) == expected);
        assert!(store.get(&diff_id).unwrap().is_some());
    }
}

#[test]
fn the_layers_used_least_recently_go_unless_they_are_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { store_bytes: 1, ..Limits::default() };
    let store = Store::open(dir.path(), limits).unwrap();
    let [a, b] = [1, 2].map(|len| store.commit(&files(&[len])).unwrap());
    let ids = [*a.diff_id(), *b.diff_id()];
    let there = || ids.map(|id| dir.path().join(id.hex()).exists());
    assert_eq!(there(), [true, true], "both are in use");
    let tree = flatten(&[a], &limits).unwrap();
    drop(b);
    let c = store.commit(&files(&[3])).unwrap();
    assert_eq!(there(), [true, false], "a tree of a layer uses it");
    drop((tree, c));
    store.commit(&files(&[4])).unwrap();
    assert_eq!(there(), [false, false]);
}

#[test]
fn older_use_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let open = |store_bytes| Store::open(dir.path(), Limits { store_bytes, ..Limits::default() }).unwrap();
    let ids = [1, 2, 3].map(|len| *open(u64::MAX).commit(&files(&[len])).unwrap().diff_id());
    for (id, seconds) in ids.iter().zip([2, 1, 3]) {
        let index = fs::File::open(dir.path().join(id.hex()).join("index")).unwrap();
        index.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    }
    let bytes = |id: &Digest| {
        use std::os::unix::fs::MetadataExt;
        let file = |name| fs::metadata(dir.path().join(id.hex()).join(name)).unwrap().blocks() * 512;
        file("index") + file("content")
    };
    let two = bytes(&ids[0]) + bytes(&ids[2]);
    open(two).dir.evict(two).unwrap();
    assert_eq!(ids.map(|id| dir.path().join(id.hex()).exists()), [true, false, true]);
}

#[test]
fn what_an_ended_process_left_is_removed_and_what_a_living_one_makes_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let living = store(dir.path());
    let partial = living.partial().unwrap();
    for (name, content) in [(".partial-dead", true), (".partial-empty", false), (&"0".repeat(64), true)] {
        fs::create_dir(dir.path().join(name)).unwrap();
        if content {
            fs::write(dir.path().join(name).join("content"), "half").unwrap();
        }
    }
    fs::write(dir.path().join(format!("{}.tar", "1".repeat(64))), "of an older version").unwrap();
    store(dir.path());
    let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| name.to_str().is_some_and(|name| !name.ends_with(".tar") && name != ".lock"));
    assert_eq!(left.len(), 1, "{left:?}");
    drop(partial);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn many_at_once_keep_one_layer() {
    let dir = tempfile::tempdir().unwrap();
    let commit = || *store(dir.path()).commit(&files(&[30_000])).unwrap().diff_id();
    let ids: Vec<Digest> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(commit)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the lock and the layer");
    assert!(Digest::of(&tar_of(&store(dir.path()).get(&ids[0]).unwrap().unwrap())) == ids[0]);
}

#[test]
fn what_is_given_up_while_room_is_made_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let done = AtomicBool::new(false);
    let given_up = || {
        while !done.load(Ordering::Relaxed) {
            let partial = store.partial().unwrap();
            (&partial.content).write_all(&[1; 4_096]).unwrap();
            (&partial.index).write_all(&[1; 4_096]).unwrap();
        }
    };
    let made = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(given_up);
        }
        let made = (0..3_000).try_for_each(|_| store.dir.evict(0));
        done.store(true, Ordering::Relaxed);
        made
    });
    made.unwrap();
}
