//! Cases made here, in the manner of the corpora: stacks of raw archives and the trees that they stand for.

use std::fs;
use std::path::Path;

use fstree::{Tree, walk};
use ocilayers::Digest;
use serde_json::json;
use tar::Header;

use crate::shared::{differs, tree, whole};

/// An archive in the making, without its end.
#[derive(Clone, Default)]
struct Raw(Vec<u8>);

impl Raw {
    /// An entry with its header changed by `change` before the checksum.
    fn with(mut self, flag: u8, name: &[u8], link: &str, data: &[u8], change: impl Fn(&mut Header)) -> Self {
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

    fn entry(self, flag: u8, name: &str, link: &str, data: &str) -> Self {
        self.with(flag, name.as_bytes(), link, data.as_bytes(), |_| ())
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.entry(b'0', name, "", data)
    }

    fn dir(self, name: &str) -> Self {
        self.entry(b'5', name, "", "")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, "")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, "")
    }

    /// A PAX header of type `flag` (`x` or `g`).
    fn pax(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
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

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn raw() -> Raw {
    Raw::default()
}

/// `a/x`, `a/y`, `a/d/z`, `k/keep`.
fn base() -> Raw {
    raw().dir("a").file("a/x", "x").file("a/y", "y").dir("a/d").file("a/d/z", "z").dir("k").file("k/keep", "keep")
}

/// Writes an image of plain layers, without any code of the crate.
pub(crate) fn layout(dir: &Path, layers: &[Vec<u8>]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config =
        json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let layers: Vec<_> = layers.iter().map(|layer| put(layer, "application/vnd.oci.image.layer.v1.tar")).collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn of_bytes(layers: &[Vec<u8>]) -> Result<Tree, String> {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), layers);
    tree(dir.path(), 2).map_err(|error| whole(&error))
}

fn of(layers: &[Raw]) -> Result<Tree, String> {
    of_bytes(&layers.iter().map(|layer| layer.clone().end()).collect::<Vec<_>>())
}

/// The tree has exactly these names.
#[track_caller]
fn gives(layers: &[Raw], expected: &[(&str, &str)]) {
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
fn refuses(layers: &[Raw], part: &str) {
    let message = of(layers).unwrap_err();
    assert!(message.contains(part), "{message}");
}

#[test]
fn whiteouts_over_several_layers() {
    let keep = ("k", "d");
    let kept = ("k/keep", "f:keep");
    gives(&[base(), raw().file(".wh.a", ""), raw().file("a/m", "m"), raw().file(".wh.a", "")], &[keep, kept]);
    let opaque = raw().dir("a").file("a/p/1", "1").file("a/.wh..wh..opq", "");
    gives(&[base(), opaque, raw().file("a/.wh.p", "")], &[keep, kept, ("a", "d")]);
    gives(&[base(), raw().file(".wh..wh..opq", "").file("n", "n")], &[("n", "f:n")]);
    let all = [keep, kept, ("a", "d"), ("a/x", "f:X"), ("a/y", "f:y"), ("a/d", "d"), ("a/d/z", "f:z")];
    gives(&[base(), raw().file("a/x", "X").file("a/.wh.x", "")], &all);
    gives(&[base(), raw().file("a/x", "X"), raw().file("nope/.wh.x", "").file(".wh.nope", "")], &all);
    gives(
        &[base(), raw().file(".wh.a", ""), raw().file("a", "now a file").file("a/.wh.x", "")],
        &[keep, kept, ("a", "f:now a file")],
    );
}

#[test]
fn a_directory_replaces_a_link_of_below_and_hides_nothing_behind_it() {
    let base = raw().dir("usr").dir("usr/bin").file("usr/bin/sh", "sh").symlink("bin", "usr/bin");
    let upper = raw().dir("bin").file("bin/.wh..wh..opq", "").file("bin/foo", "foo").file("bin/.wh.sh", "");
    let expected = [("usr", "d"), ("usr/bin", "d"), ("usr/bin/sh", "f:sh"), ("bin", "d"), ("bin/foo", "f:foo")];
    gives(&[base, upper], &expected);
}

#[test]
fn hard_links_over_layers() {
    let two = raw().file("a", "A").link("b", "a");
    gives(&[two.clone(), raw().file("a", "new")], &[("a", "f:new"), ("b", "f:A")]);
    gives(&[two.clone(), raw().file(".wh.a", "")], &[("b", "f:A")]);
    refuses(&[two, raw().link("c", "b").file(".wh.b", "")], "the target of the hard link, 'b', does not exist");
}

#[test]
fn kinds_and_names() {
    let device = |header: &mut Header| {
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
    };
    let zero = raw().dir("a").with(b'3', b"a/x", "", b"", device);
    gives(
        &[base(), zero],
        &[
            ("a", "d"),
            ("a/x", "c:0,0"),
            ("a/y", "f:y"),
            ("a/d", "d"),
            ("a/d/z", "f:z"),
            ("k", "d"),
            ("k/keep", "f:keep"),
        ],
    );
    gives(&[raw().entry(b'0', "d/", "", "")], &[("d", "d")]);
    gives(&[raw().entry(0, "d/", "", "").entry(0, "d/f", "", "f")], &[("d", "d"), ("d/f", "f:f")]);
    gives(&[raw().file("a", "1").dir("a").file("a/b", "b")], &[("a", "d"), ("a/b", "f:b")]);
    let long = "t".repeat(150);
    let target = format!("l:{long}");
    gives(
        &[raw().entry(b'L', "././@LongLink", "", &long).entry(b'K', "././@LongLink", "", &long).symlink("s", "x")],
        &[(long.as_str(), target.as_str())],
    );
    let prefix = |header: &mut Header| header.as_ustar_mut().unwrap().prefix[..3].copy_from_slice(b"p/q");
    gives(&[raw().with(b'0', b"f", "", b"f", prefix)], &[("p", "d"), ("p/q", "d"), ("p/q/f", "f:f")]);
    for flag in *b"sADMVNX" {
        refuses(&[raw().entry(flag, "x", "", "")], "is not a kind of file");
    }
    refuses(&[raw().file("../../evil", "")], "'..' component");
    for name in [".wh.", ".wh..", ".wh...", "a/.wh."] {
        refuses(&[raw().file(name, "")], "it names no entry");
    }
}

#[test]
fn climbing_links_stay_inside() {
    let layers = [
        raw().dir("etc2").symlink("e", "../../etc2").symlink("up", "../../../.."),
        raw().file("e/p", "p").file("up/q", "q"),
    ];
    gives(&layers, &[("etc2", "d"), ("etc2/p", "f:p"), ("e", "l:../../etc2"), ("up", "l:../../../.."), ("q", "f:q")]);
}

#[test]
fn extended_headers() {
    gives(&[raw().pax(b'g', &[("comment", b"c")]).file("a", "a").file("b", "b")], &[("a", "f:a"), ("b", "f:b")]);
    gives(&[raw().pax(b'x', &[("mtime", b"-5.5")]).file("n", "n")], &[("n", "f:n:mt=-5.5")]);
    for key in ["path", "linkpath", "size", "GNU.sparse.realsize", "GNU.sparse.offset"] {
        refuses(&[raw().pax(b'g', &[(key, b"3")]).file("a", "a")], "for all files");
    }
    refuses(&[raw().pax(b'x', &[("mtime", b"nan")]).file("n", "n")], "'mtime' is not a number");
    refuses(&[raw().pax(b'x', &[("uid", b"4294967295")]).file("n", "n")], "'uid' is not a number that fits");
    refuses(&[raw().pax(b'x', &[("path", b"late")])], "no entry follows it");
    let bytes = [("SCHILY.xattr.user.a", &b"\x00\n\xff=\n"[..]), ("SCHILY.xattr.user.e", b"")];
    gives(&[raw().pax(b'x', &bytes).file("a", "a")], &[("a", r#"f:a:xa={"user.a":"000aff3d0a","user.e":""}"#)]);
    let twins = [
        ("LIBARCHIVE.xattr.user.a%3Db", &b"AAEC"[..]),
        ("LIBARCHIVE.xattr.user.c", b"AA"),
        ("SCHILY.xattr.user.c", b"c"),
    ];
    gives(&[raw().pax(b'x', &twins).file("a", "a")], &[("a", r#"f:a:xa={"user.a=b":"000102","user.c":"63"}"#)]);
}

#[test]
fn text_access_control_lists_become_attributes() {
    let text = b"user::rw-,user:lisa:rw-:1000,group::r--,mask::rw-,other::r--";
    let value = "0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff";
    let expected = format!(r#"f:a:mo=644:xa={{"system.posix_acl_access":"{value}"}}"#);
    gives(&[raw().pax(b'x', &[("SCHILY.acl.access", text)]).file("a", "a")], &[("a", &expected)]);
    refuses(&[raw().pax(b'x', &[("SCHILY.acl.access", b"user:lisa:rw-")]).file("a", "a")], "without a number");
}

#[test]
fn sparse_files_of_every_format() {
    let (head, tail) = ("A".repeat(512), "B".repeat(512));
    let stored = head.clone() + &tail;
    let expected = format!("f:{head}{}{tail}{}", "\0".repeat(3_072), "\0".repeat(512));
    let expected = [("sp", expected.as_str()), ("after", "f:after")];
    let number = |field: &mut [u8], number: u64| field[..11].copy_from_slice(format!("{number:011o}").as_bytes());
    let old = |header: &mut Header| {
        let mut gnu = Header::new_gnu();
        gnu.as_mut_bytes()[..257].copy_from_slice(&header.as_bytes()[..257]);
        let fields = gnu.as_gnu_mut().unwrap();
        number(&mut fields.realsize, 4_608);
        for (field, (offset, len)) in fields.sparse.iter_mut().zip([(0, 512), (3_584, 512)]) {
            number(&mut field.offset, offset);
            number(&mut field.numbytes, len);
        }
        *header = gnu;
    };
    gives(&[raw().with(b'S', b"sp", "", stored.as_bytes(), old).file("after", "after")], &expected);
    let offsets: [(&str, &[u8]); 7] = [
        ("GNU.sparse.size", b"4608"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"512"),
        ("GNU.sparse.offset", b"3584"),
        ("GNU.sparse.numbytes", b"512"),
        ("path", b"sp"),
    ];
    gives(&[raw().pax(b'x', &offsets).file("x", &stored).file("after", "after")], &expected);
    let map: [(&str, &[u8]); 3] =
        [("GNU.sparse.size", b"4608"), ("GNU.sparse.map", b"0,512,3584,512"), ("GNU.sparse.name", b"sp")];
    gives(&[raw().pax(b'x', &map).file("x", &stored).file("after", "after")], &expected);
    let one: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"4608"),
        ("GNU.sparse.name", b"sp"),
    ];
    let with_map = format!("{:\0<512}{stored}", "2\n0\n512\n3584\n512\n");
    gives(&[raw().pax(b'x', &one).file("x", &with_map).file("after", "after")], &expected);
    let hole = raw().pax(b'x', &[("GNU.sparse.size", b"5"), ("GNU.sparse.map", b"")]).file("sp", "");
    gives(&[hole], &[("sp", "f:\0\0\0\0\0")]);
    let endless = format!("{:\0<512}", "1000001\n");
    refuses(&[raw().pax(b'x', &one).file("x", &endless)], "more sparse runs than the 1000000");
    refuses(&[raw().pax(b'x', &one).file("x", "3\n0\n")], "sparse map is malformed");
}

#[test]
fn every_cut_of_an_archive_is_an_error_or_ends_between_entries() {
    let whole = raw()
        .pax(b'x', &[("path", b"long")])
        .file("x", "data")
        .entry(b'L', "l", "", "name")
        .dir("d")
        .symlink("s", "t")
        .0;
    for len in (0..whole.len()).filter(|len| len % 37 == 0 || matches!(len % 512, 0 | 1 | 4 | 5 | 511)) {
        let between = of_bytes(&[whole[..len].to_vec()]).is_ok();
        // After the file, after the directory with its long name, after the link; and nothing at all.
        assert_eq!(between, [0, 4 * 512, 7 * 512, 8 * 512].contains(&len), "{len} bytes");
    }
}
