//! Archives and images made byte by byte, without any code of the crate.

use std::fs;
use std::path::Path;

use fstree::{Tree, walk};
use ocilayers::Digest;
use serde_json::json;
use tar::Header;

use crate::shared::{differs, tree, whole};

/// An archive in the making, without its end.
#[derive(Clone, Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    /// An entry with its header changed by `change` before the checksum.
    pub(crate) fn with(mut self, flag: u8, name: &[u8], link: &str, data: &[u8], change: impl Fn(&mut Header)) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.as_old_mut().linkflag = [flag];
        header.set_mode(if flag == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len().try_into().unwrap());
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn entry(self, flag: u8, name: &str, link: &str, data: &str) -> Self {
        self.with(flag, name.as_bytes(), link, data.as_bytes(), |_| ())
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.entry(b'0', name, "", data)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(b'5', name, "", "")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, "")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, "")
    }

    /// A PAX header of type `flag` (`x` or `g`).
    pub(crate) fn pax(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len = (rest..).find(|len| len.to_string().len() + rest == *len).unwrap();
            data.extend_from_slice(format!("{len} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.with(flag, b"PaxHeaders/x", "", &data, |_| ())
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn raw() -> Raw {
    Raw::default()
}

/// `a/x`, `a/y`, `a/d/z`, `k/keep`.
pub(crate) fn base() -> Raw {
    raw().dir("a").file("a/x", "x").file("a/y", "y").dir("a/d").file("a/d/z", "z").dir("k").file("k/keep", "keep")
}

/// A layer as it is stored: the blob, what its media type says of it after `layer.v1.tar`, and the tar that it is of.
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
    pub(crate) suffix: &'static str,
    pub(crate) tar: Vec<u8>,
}

/// Writes an image of plain layers, without any code of the crate.
pub(crate) fn layout(dir: &Path, layers: &[Vec<u8>]) {
    let plain = |tar: &Vec<u8>| Blob { bytes: tar.clone(), suffix: "", tar: tar.clone() };
    layout_of_blobs(dir, &layers.iter().map(plain).collect::<Vec<_>>());
}

/// Writes an image of layers that are stored in any way.
pub(crate) fn layout_of_blobs(dir: &Path, layers: &[Blob]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(&layer.tar).to_string()).collect();
    let config =
        json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let media_type = |suffix| format!("application/vnd.oci.image.layer.v1.tar{suffix}");
    let layers: Vec<_> = layers.iter().map(|layer| put(&layer.bytes, &media_type(layer.suffix))).collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

pub(crate) fn of_bytes(layers: &[Vec<u8>]) -> Result<Tree, String> {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), layers);
    tree(dir.path(), 2).map_err(|error| whole(&error))
}

pub(crate) fn of(layers: &[Raw]) -> Result<Tree, String> {
    of_bytes(&layers.iter().map(|layer| layer.clone().end()).collect::<Vec<_>>())
}

/// The tree has exactly these names.
#[track_caller]
pub(crate) fn gives(layers: &[Raw], expected: &[(&str, &str)]) {
    let tree = of(layers).unwrap();
    for (path, text) in expected {
        assert_eq!(differs(&tree, path.as_bytes(), text.as_bytes()), None, "{path}");
    }
    let done: Result<(), String> = walk(&tree, |visit| {
        let path = visit.path.escape_ascii().to_string();
        if path.is_empty() || expected.iter().any(|(name, _)| *name == path) { Ok(()) } else { Err(path) }
    });
    assert_eq!(done, Ok(()), "that name should not be there");
}

#[track_caller]
pub(crate) fn refuses(layers: &[Raw], part: &str) {
    let message = of(layers).unwrap_err();
    assert!(message.contains(part), "{message}");
}
