//! Each cap of [`Limits`] at its border: what is exactly as large is taken, one more is refused by an error that names the
//! layer, the entry where there is one, and the cap.

use fstree::TreePath;
use ocilayers::{Digest, Image, ImageRef, Limits, Store, flatten, import, write_layout};

use crate::raw::{Blob, Raw, layout, layout_of_blobs, raw};
use crate::shared::whole;

/// What becomes of plain `layers` under `limits`.
fn under(layers: &[Vec<u8>], limits: &Limits) -> Result<usize, String> {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), layers);
    open(dir.path(), limits)
}

fn open(dir: &std::path::Path, limits: &Limits) -> Result<usize, String> {
    let scratch = tempfile::tempdir().unwrap();
    let tree = Image::open(&ImageRef::Layout { dir: dir.to_owned(), tag: None }, limits)
        .and_then(|image| Store::open(scratch.path(), *limits)?.layers(&image, Some(2)))
        .and_then(|layers| flatten(&layers, limits))
        .map_err(|error| whole(&error))?;
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
    assert!(!left.is_empty(), "the store has kept the layers");
    Ok(fstree::dump(&tree).lines().count())
}

/// `at` is taken under `limits`; `beyond` is refused with all of `parts` in the message, and that of the layer.
#[track_caller]
fn border(limits: &Limits, at: Raw, beyond: Raw, parts: &[&str]) {
    let (at, beyond) = (at.end(), beyond.end());
    assert_eq!(under(std::slice::from_ref(&at), limits).map(|_| ()), Ok(()));
    let message = under(std::slice::from_ref(&beyond), limits).unwrap_err();
    let layer = Digest::of(&beyond).to_string();
    for part in parts.iter().copied().chain([layer.as_str()]) {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

fn with(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn files(count: usize) -> Raw {
    (0..count).fold(raw(), |all, n| all.file(&format!("f{n}"), ""))
}

#[test]
fn the_defaults_are_those_that_the_documentation_states() {
    let limits = Limits::default();
    assert_eq!((limits.json_bytes, limits.layers, limits.index_depth), (4 << 20, 512, 4));
    assert_eq!((limits.layer_bytes, limits.ratio, limits.ratio_from_bytes), (64 << 30, 2_000, 1 << 30));
    assert_eq!(limits.store_bytes, 64 << 30);
    let tree = limits.tree;
    assert_eq!((tree.nodes, tree.header_bytes, tree.metadata_bytes), (4_000_000, 1 << 20, 1 << 30));
    assert_eq!((tree.xattr_bytes, tree.xattr_value_bytes), (1 << 20, 64 << 10));
    assert_eq!((tree.sparse_segments, tree.file_bytes), (1_000_000, 1 << 40));
    assert_eq!((TreePath::DEPTH_MAX, TreePath::LEN_MAX), (1_024, 65_536));
}

#[test]
fn entries_of_a_layer_and_names_of_all_layers() {
    // The root is a node too, and an entry of its own where an archive has it.
    let limits = with(|limits| limits.tree.nodes = 11);
    border(&limits, files(10), files(12), &["entries before it", "11", "f11"]);
    let twice = [files(10).end(), raw().file("more", "").end()];
    assert_eq!(under(&twice[..1], &limits), Ok(11));
    let message = under(&twice, &limits).unwrap_err();
    assert!(message.contains("more") && message.contains("11") && message.contains("can't be applied"), "{message}");
    // Directories that names imply count too, and for an import as for a layer.
    let dir = tempfile::tempdir().unwrap();
    let (tar, deep) = (dir.path().join("deep.tar"), "d/".repeat(10) + "f");
    std::fs::write(&tar, raw().file(&deep, "").end()).unwrap();
    let error = import(&tar, &dir.path().join("layout"), "deep", &limits).unwrap_err();
    assert!(whole(&error).contains("can't be applied"), "{}", whole(&error));
}

#[test]
fn bytes_of_extended_headers_and_of_all_names() {
    let limits = with(|limits| limits.tree.header_bytes = 1_000);
    // The record has 12 bytes beside its value.
    let header = |len: usize| raw().pax(b'x', &[("comment", &vec![b'c'; len])]).file("f", "");
    let len = 1_000 - "1000 comment=\n".len();
    border(&limits, header(len), header(len + 1), &["more bytes of extended header than the 1000"]);
    // Several for one file, or for all files, are bounded as one is; what takes the place of another does not add to it.
    for flag in [b'x', b'g'] {
        let headers = |keys: [&str; 3], len: usize| {
            let header = |all: Raw, key| all.pax(flag, &[(key, &vec![b'v'; len])]);
            keys.into_iter().fold(raw(), header).file("f", "")
        };
        let beyond = headers(["a", "b", "c"], 333);
        border(&limits, headers(["a", "b", "c"], 332), beyond, &["more bytes of extended header than the 1000"]);
        assert!(under(&[headers(["a", "a", "a"], 900).end()], &limits).is_ok());
    }
    let limits = with(|limits| limits.tree.metadata_bytes = 100_000);
    border(&limits, files(100), files(2_000), &["bytes of names, attributes and sparse maps", "100000"]);
}

#[test]
fn extended_attributes() {
    let limits = with(|limits| limits.tree.xattr_value_bytes = 100);
    let value = |len: usize| raw().pax(b'x', &[("SCHILY.xattr.user.a", &vec![b'v'; len])]).file("f", "");
    border(&limits, value(100), value(101), &["'f'", "more bytes of one extended attribute than the 100"]);
    // Names count with their values.
    let limits = with(|limits| limits.tree.xattr_bytes = 100);
    let all = 100 - "user.a".len();
    border(&limits, value(all), value(all + 1), &["'f'", "more bytes of extended attributes than the 100"]);
}

#[test]
fn sparse_runs_and_the_size_of_a_file() {
    let sparse = |runs: usize| {
        let map: Vec<String> = (0..runs).map(|n| format!("{},1", n * 10)).collect();
        let records: [(&str, &[u8]); 2] =
            [("GNU.sparse.size", b"100000"), ("GNU.sparse.map", &map.join(",").into_bytes())];
        raw().pax(b'x', &records).file("sp", &"x".repeat(runs))
    };
    let limits = with(|limits| limits.tree.sparse_segments = 20);
    border(&limits, sparse(20), sparse(21), &["'sp'", "more sparse runs than the 20"]);
    let limits = with(|limits| limits.tree.file_bytes = 1_000);
    border(&limits, raw().file("f", &"x".repeat(1_000)), raw().file("f", &"x".repeat(1_001)), &["'f'", "1000"]);
    let hole = |size: &[u8]| raw().pax(b'x', &[("GNU.sparse.size", size), ("GNU.sparse.map", b"0,1")]).file("f", "x");
    border(&limits, hole(b"1000"), hole(b"1001"), &["'f'", "more bytes than the 1000"]);
}

#[test]
fn depth_and_length_of_paths() {
    let path = |path: String| raw().pax(b'x', &[("path", path.as_bytes())]).file("x", "");
    let limits = Limits::default();
    border(&limits, path(vec!["d"; 1_024].join("/")), path(vec!["d"; 1_025].join("/")), &["more than 1024 components"]);
    let name = "n".repeat(255);
    let len = |len: usize| path(format!("{}{name}", "/".repeat(len - name.len())));
    border(&limits, len(65_536), len(65_537), &["65537 bytes long", "at most 65536"]);
}

#[test]
fn bytes_of_a_layer_and_what_a_compressed_byte_may_become() {
    let file = |len: usize| raw().file("f", &"x".repeat(len)).end();
    let (at, beyond) = (file(2_048), file(2_049));
    let limits = with(|limits| limits.layer_bytes = at.len().try_into().unwrap());
    assert_eq!(under(std::slice::from_ref(&at), &limits), Ok(2));
    let message = under(std::slice::from_ref(&beyond), &limits).unwrap_err();
    assert!(message.contains("over the limit") && message.contains(&at.len().to_string()), "{message}");

    let blob = |tar: &[u8]| Blob { bytes: zstd::encode_all(tar, 19).unwrap(), suffix: "+zstd", tar: tar.to_vec() };
    let (small, large) = (blob(&file(20_000)), blob(&file(300_000)));
    let limits = with(|limits| {
        limits.ratio = 500;
        limits.ratio_from_bytes = 1_000;
    });
    for (blob, taken) in [(small, true), (large, false)] {
        let factor = blob.tar.len() / blob.bytes.len();
        assert_eq!(factor < 500, taken, "the test's own layer grows {factor} times");
        let dir = tempfile::tempdir().unwrap();
        layout_of_blobs(dir.path(), &[blob]);
        match open(dir.path(), &limits) {
            Ok(_) => assert!(taken),
            Err(message) => assert!(!taken && message.contains("over the limit"), "{message}"),
        }
    }
}

#[test]
fn layers_of_an_image_and_bytes_of_its_documents() {
    let layers = |count| vec![raw().file("f", "").end(); count];
    let limits = with(|limits| limits.layers = 3);
    assert_eq!(under(&layers(3), &limits), Ok(2));
    let message = under(&layers(4), &limits).unwrap_err();
    assert!(message.contains("the number of layers is over the limit of 3"), "{message}");

    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), &layers(1));
    let index = dir.path().join("index.json");
    let mut text = std::fs::read(&index).unwrap();
    text.resize(4_000, b' ');
    std::fs::write(&index, &text).unwrap();
    let limits = with(|limits| limits.json_bytes = 4_000);
    assert_eq!(open(dir.path(), &limits), Ok(2));
    text.push(b' ');
    std::fs::write(&index, &text).unwrap();
    let message = open(dir.path(), &limits).unwrap_err();
    assert!(message.contains("index.json") && message.contains("4000"), "{message}");
    // Nor is an image added to it, of which it might lose others.
    let message = whole(&write_layout(dir.path(), "more", serde_json::json!({}), &[], &limits).unwrap_err());
    assert!(message.contains("index.json is over the limit of 4000"), "{message}");
    assert_eq!(std::fs::read(&index).unwrap(), text);
}

#[test]
fn indexes_inside_indexes() {
    // How many indexes stand between `index.json` and the manifest.
    let nested = |depth: usize| {
        let dir = tempfile::tempdir().unwrap();
        layout(dir.path(), &[raw().file("f", "").end()]);
        for _ in 0..depth {
            let index = std::fs::read(dir.path().join("index.json")).unwrap();
            let digest = Digest::of(&index);
            std::fs::write(dir.path().join("blobs/sha256").join(digest.hex()), &index).unwrap();
            let outer = serde_json::json!({ "schemaVersion": 2, "manifests": [{
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": digest.to_string(), "size": index.len() }] });
            std::fs::write(dir.path().join("index.json"), outer.to_string()).unwrap();
        }
        open(dir.path(), &with(|limits| limits.index_depth = 3))
    };
    assert_eq!(nested(3), Ok(2));
    let message = nested(4).unwrap_err();
    assert!(message.contains("indexes inside each other is over the limit of 3"), "{message}");
}
