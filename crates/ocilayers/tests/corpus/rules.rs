//! The rules by which layers become one tree, each with the cases that show it. They are those of the OCI image
//! specification (layer.md) where it speaks, and those of the builders that write layers where it is silent.

use std::fs;
use std::io::Write;

use flate2::write::GzEncoder;
use tar::Header;

use crate::raw::{Blob, Raw, base, gives, layout, layout_of_blobs, of_bytes, raw, refuses};
use crate::shared::{node_at, tree, whole};

/// What [`base`] gives, for layers that change nothing of it.
const BASE: [(&str, &str); 7] =
    [("k", "d"), ("k/keep", "f:keep"), ("a", "d"), ("a/x", "f:x"), ("a/y", "f:y"), ("a/d", "d"), ("a/d/z", "f:z")];

#[test]
fn rule_1_names_are_cleaned_and_never_climb() {
    for name in ["f", "./f", "/f", ".//./f", "///f"] {
        gives(&[raw().file(name, "1")], &[("f", "f:1")]);
    }
    gives(&[raw().dir("d/./e//")], &[("d", "d"), ("d/e", "d")]);
    for name in ["..", "../../evil", "a/..", "a/../b", "/.."] {
        refuses(&[raw().file(name, "")], "'..' component");
    }
    for name in ["...", "..a", "a.."] {
        gives(&[raw().file(name, "1")], &[(name, "f:1")]);
    }
    let long = |len: usize| raw().entry(b'L', "l", "", &"n".repeat(len)).file("x", "1");
    gives(&[long(255)], &[(&"n".repeat(255), "f:1")]);
    refuses(&[long(256)], "a component of the path is 256 bytes long");
    refuses(&[raw().file("", "")], "no name");
    refuses(&[raw().pax(b'x', &[("path", b"a\0b")]).file("x", "")], "NUL");
}

#[test]
fn rule_2_parents_are_found_inside_the_image_through_the_links_of_lower_layers() {
    let layers = [
        raw().dir("etc2").symlink("e", "../../etc2").symlink("up", "../../../.."),
        raw().file("e/p", "p").file("up/q", "q"),
    ];
    gives(&layers, &[("etc2", "d"), ("etc2/p", "f:p"), ("e", "l:../../etc2"), ("up", "l:../../../.."), ("q", "f:q")]);
    let absolute = [raw().dir("usr").dir("usr/bin").symlink("bin", "/usr/bin"), raw().file("bin/sh", "sh")];
    gives(&absolute, &[("usr", "d"), ("usr/bin", "d"), ("usr/bin/sh", "f:sh"), ("bin", "l:/usr/bin")]);
    // The last component is the entry itself.
    gives(&[raw().file("t", "t").symlink("s", "t"), raw().file("s", "s")], &[("t", "f:t"), ("s", "f:s")]);
    refuses(&[raw().symlink("s", "gone").file("s/f", "")], "symbolic link to nothing");
    refuses(&[raw().symlink("s", "s").file("s/f", "")], "too many symbolic links");
    let chain = |links: usize| {
        let start = raw().dir("l0");
        let all = (1..=links).fold(start, |all, n| all.symlink(&format!("l{n}"), &format!("l{}", n - 1)));
        all.file(&format!("l{links}/f"), "f")
    };
    assert!(of_bytes(&[chain(40).end()]).is_ok());
    refuses(&[chain(41)], "too many symbolic links on the way (at most 40)");
}

#[test]
fn rule_3_whiteouts_hide_what_is_below_wherever_they_stand() {
    let (keep, kept) = (BASE[0], BASE[1]);
    gives(&[base(), raw().file(".wh.a", ""), raw().file("a/m", "m"), raw().file(".wh.a", "")], &[keep, kept]);
    for layer in [
        raw().dir("a").file("a/p/1", "1").file("a/.wh..wh..opq", ""),
        raw().file("a/.wh..wh..opq", "").dir("a").file("a/p/1", "1"),
    ] {
        gives(&[base(), layer.clone()], &[keep, kept, ("a", "d"), ("a/p", "d"), ("a/p/1", "f:1")]);
        gives(&[base(), layer, raw().file("a/.wh.p", "")], &[keep, kept, ("a", "d")]);
    }
    gives(&[base(), raw().file(".wh..wh..opq", "").file("n", "n")], &[("n", "f:n")]);
    let changed = [keep, kept, ("a", "d"), ("a/x", "f:X"), ("a/y", "f:y"), ("a/d", "d"), ("a/d/z", "f:z")];
    gives(&[base(), raw().file("a/x", "X").file("a/.wh.x", "")], &changed);
    gives(&[base(), raw().file("a/.wh.x", "").file("a/x", "X")], &changed);
    gives(&[base(), raw().file("a/x", "X"), raw().file("nope/.wh.x", "").file(".wh.nope", "")], &changed);
    // A mark counts by its name, whatever kind of entry it is.
    gives(&[base(), raw().dir(".wh.a")], &[keep, kept]);
    gives(
        &[base(), raw().file(".wh.a", ""), raw().file("a", "now a file").file("a/.wh.x", "")],
        &[keep, kept, ("a", "f:now a file")],
    );
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..."] {
        refuses(&[raw().file(name, "")], "it names no entry");
    }
    refuses(&[raw().file(".wh.d/x", "")], "a whiteout can't be a directory");
    gives(&[base(), raw().file(".wh..wh.aufs", "").dir(".wh..wh.orph").file("a/.wh..wh..opqX", "")], &BASE);
}

#[test]
fn rule_4_another_kind_replaces_and_a_directory_on_a_directory_keeps_its_children() {
    let linked = raw().dir("usr").dir("usr/bin").file("usr/bin/sh", "sh").symlink("bin", "usr/bin");
    let upper = raw().dir("bin").file("bin/.wh..wh..opq", "").file("bin/foo", "foo").file("bin/.wh.sh", "");
    let expected = [("usr", "d"), ("usr/bin", "d"), ("usr/bin/sh", "f:sh"), ("bin", "d"), ("bin/foo", "f:foo")];
    gives(&[linked, upper], &expected);

    let (keep, kept) = (BASE[0], BASE[1]);
    gives(&[base(), raw().file("a", "A")], &[keep, kept, ("a", "f:A")]);
    gives(&[base(), raw().symlink("a", "k")], &[keep, kept, ("a", "l:k")]);
    // What was below comes not back when the name is a directory again.
    gives(&[base(), raw().file("a", "A"), raw().dir("a")], &[keep, kept, ("a", "d")]);
    gives(&[raw().file("a", "A"), raw().file("a/n", "n")], &[("a", "d:755:0"), ("a/n", "f:n")]);
    let marked = raw().pax(b'x', &[("SCHILY.xattr.user.q", b"1")]).with(b'5', b"a", "", b"", |header| {
        header.set_mode(0o700);
        header.set_uid(7);
    });
    let again = [marked.file("a/x", "x"), raw().dir("a")];
    gives(&again, &[("a", "d:755:0:xa={}"), ("a/x", "f:x")]);
}

#[test]
fn rule_5_parents_that_no_entry_names_keep_what_they_are_or_are_made_the_same_each_time() {
    gives(
        &[raw().file("p/q/f", "f")],
        &[("p", "d:755:0:id=0,0:mt=0"), ("p/q", "d:755:0:id=0,0:mt=0"), ("p/q/f", "f:f")],
    );
    let lower = raw().with(b'5', b"p", "", b"", |header| {
        header.set_mode(0o700);
        header.set_uid(7);
    });
    gives(&[lower, raw().file("p/f", "f")], &[("p", "d:700:7:mt=1700000000"), ("p/f", "f:f")]);
}

#[test]
fn rule_6_hard_links_hold_what_their_target_names_at_that_point() {
    let two = raw().file("a", "A").link("b", "a");
    gives(std::slice::from_ref(&two), &[("a", "f:A"), ("b", "h:a")]);
    gives(&[two.clone(), raw().file("a", "new")], &[("a", "f:new"), ("b", "f:A")]);
    gives(&[two.clone(), raw().file(".wh.a", "")], &[("b", "f:A")]);
    gives(&[raw().file("a", "A"), raw().link("b", "a")], &[("a", "f:A"), ("b", "h:a")]);
    gives(
        &[raw().file("a", "1").link("b", "a").file("a", "2").link("c", "a")],
        &[("a", "f:2"), ("b", "f:1"), ("c", "h:a")],
    );
    gives(&[raw().symlink("s", "nowhere").link("t", "s")], &[("s", "l:nowhere"), ("t", "h:s")]);
    // The link's own attributes say nothing.
    let own = |header: &mut Header| header.set_mode(0o777);
    gives(&[raw().file("a", "A").with(b'1', b"b", "a", b"", own)], &[("a", "f:A:mo=644"), ("b", "h:a")]);
    refuses(&[two, raw().link("c", "b").file(".wh.b", "")], "the target of the hard link, 'b', does not exist");
    refuses(&[raw().dir("d").link("l", "d")], "hard link to a directory");
    refuses(&[raw().link("l", "/")], "hard link to a directory");
    refuses(&[raw().link("l", "gone")], "does not exist");
    refuses(&[raw().link("l", "../x")], "'..' component");
}

#[test]
fn rule_7_of_the_same_name_in_a_layer_the_last_counts() {
    gives(&[raw().file("a", "1").file("./a", "2")], &[("a", "f:2")]);
    gives(&[raw().file("a", "1").dir("a").file("a/b", "b")], &[("a", "d"), ("a/b", "f:b")]);
    gives(&[raw().dir("a").file("a/b", "b").file("a", "1")], &[("a", "f:1")]);
    let mode = |mode| move |header: &mut Header| header.set_mode(mode);
    let twice = raw().with(b'5', b"a", "", b"", mode(0o700)).file("a/b", "b").with(b'5', b"a", "", b"", mode(0o711));
    gives(&[twice], &[("a", "d:711"), ("a/b", "f:b")]);
    refuses(&[raw().file("a", "1").link("a", "a")], "hard link to itself");
}

#[test]
fn rule_8_an_entry_for_the_root_is_honoured_and_must_be_a_directory() {
    let owned = |header: &mut Header| {
        header.set_mode(0o700);
        header.set_uid(9);
    };
    gives(&[raw().with(b'5', b"./", "", b"", owned)], &[("", "d:700:9:mt=1700000000")]);
    gives(&[raw().file("f", "")], &[("", "d:755:0:mt=0"), ("f", "f:")]);
    for flag in *b"02346" {
        let refused = raw().entry(flag, ".", "x", "");
        let message = of_bytes(&[refused.end()]).unwrap_err();
        assert!(message.contains("the root is a directory and stays one"), "{}: {message}", char::from(flag));
    }
}

#[test]
fn rule_9_numbers_are_read_in_every_form_and_refused_outside_their_range() {
    gives(&[raw().pax(b'x', &[("mtime", b"-5.5")]).file("n", "n")], &[("n", "f:n:mt=-5.5")]);
    gives(&[raw().pax(b'x', &[("mtime", b"1.123456789")]).file("n", "n")], &[("n", "f:n:mt=1.123456789")]);
    let ids: [(&str, &[u8]); 2] = [("uid", b"4294967294"), ("gid", b"3000000")];
    gives(&[raw().pax(b'x', &ids).file("n", "n")], &[("n", "f:n:id=4294967294,3000000")]);
    let base_256 = |header: &mut Header| {
        header.as_old_mut().mtime = [0xff; 12];
        header.as_old_mut().uid = [0x80, 0, 0, 0, 0, 1, 0, 0];
    };
    gives(&[raw().with(b'0', b"n", "", b"n", base_256)], &[("n", "f:n:id=65536,0:mt=-1")]);
    gives(&[raw().with(b'0', b"n", "", b"", |header| header.set_mode(0o10_6755))], &[("n", "f::mo=6755")]);
    let device = |major, minor| {
        move |header: &mut Header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        }
    };
    gives(&[raw().with(b'3', b"c", "", b"", device(0, 0))], &[("c", "c:0,0")]);
    gives(&[raw().with(b'4', b"b", "", b"", device(4_095, 1_048_575))], &[("b", "b:4095,1048575")]);
    for (major, minor) in [(4_096, 0), (0, 1_048_576)] {
        refuses(&[raw().with(b'3', b"c", "", b"", device(major, minor))], "is out of range");
    }
    refuses(&[raw().pax(b'x', &[("mtime", b"nan")]).file("n", "n")], "'mtime' is not a number");
    refuses(&[raw().pax(b'x', &[("uid", b"4294967295")]).file("n", "n")], "'uid' is not a number that fits");
}

#[test]
fn rule_10_attributes_are_kept_to_the_byte_but_those_of_a_host() {
    let bytes = [("SCHILY.xattr.user.a", &b"\x00\n\xff=\n"[..]), ("SCHILY.xattr.user.e", b"")];
    gives(&[raw().pax(b'x', &bytes).file("a", "a")], &[("a", r#"f:a:xa={"user.a":"000aff3d0a","user.e":""}"#)]);
    let twins = [
        ("LIBARCHIVE.xattr.user.a%3Db", &b"AAEC"[..]),
        ("LIBARCHIVE.xattr.user.c", b"AA"),
        ("SCHILY.xattr.user.c", b"c"),
    ];
    gives(&[raw().pax(b'x', &twins).file("a", "a")], &[("a", r#"f:a:xa={"user.a=b":"000102","user.c":"63"}"#)]);
    let of_a_host: Vec<String> =
        ["trusted.overlay.opaque", "user.overlay.origin", "security.selinux", "security.ima", "security.evm"]
            .map(|name| format!("SCHILY.xattr.{name}"))
            .into();
    let records: Vec<(&str, &[u8])> = of_a_host.iter().map(|name| (name.as_str(), &b"y"[..])).collect();
    gives(&[raw().pax(b'x', &records).file("a", "a")], &[("a", "f:a:xa={}")]);

    let text = b"user::rw-,user:lisa:rw-:1000,group::r--,mask::rw-,other::r--";
    let value = "0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff";
    let expected = format!(r#"f:a:mo=644:xa={{"system.posix_acl_access":"{value}"}}"#);
    gives(&[raw().pax(b'x', &[("SCHILY.acl.access", text)]).file("a", "a")], &[("a", &expected)]);
    refuses(&[raw().pax(b'x', &[("SCHILY.acl.access", b"user:lisa:rw-")]).file("a", "a")], "without a number");
}

#[test]
fn rule_11_every_kind_of_tar_is_read_and_unknown_entries_are_refused_by_name() {
    gives(&[raw().entry(b'0', "d/", "", "")], &[("d", "d")]);
    gives(&[raw().entry(0, "d/", "", "").entry(0, "d/f", "", "f")], &[("d", "d"), ("d/f", "f:f")]);
    gives(&[raw().entry(b'7', "f", "", "f")], &[("f", "f:f")]);
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
    gives(&[raw().pax(b'g', &[("comment", b"c")]).file("a", "a").file("b", "b")], &[("a", "f:a"), ("b", "f:b")]);
    for key in ["path", "linkpath", "size", "GNU.sparse.realsize", "GNU.sparse.offset"] {
        refuses(&[raw().pax(b'g', &[(key, b"3")]).file("a", "a")], "for all files");
    }
    // An extended header reaches its file through the long name of another format.
    let through = raw().pax(b'x', &[("mtime", b"7")]).entry(b'L', "l", "", "n").file("x", "n");
    gives(&[through], &[("n", "f:n:mt=7")]);
    refuses(&[raw().pax(b'x', &[("path", b"late")])], "no entry follows it");
    for flag in *b"23456" {
        let sized = raw().with(flag, b"x", "t", &[0; 512], |_| ());
        refuses(&[sized], "512 bytes of data, which its kind can't have");
    }
}

#[test]
fn rule_11_sparse_files_of_every_format_keep_their_holes() {
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
fn rule_12_every_cut_of_an_archive_is_an_error_or_ends_between_entries() {
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

#[test]
fn rule_12_zeros_or_the_end_of_the_file_end_an_archive_and_nothing_behind_counts() {
    let file = || raw().file("a", "A");
    for zeros in [0, 512, 1_024, 10_240] {
        let archive = [file().0, vec![0; zeros]].concat();
        assert!(node_at(&of_bytes(&[archive]).unwrap(), b"a").is_some(), "{zeros} bytes of zeros");
    }
    let behind = [file().end(), raw().file("b", "B").end()].concat();
    assert_eq!(node_at(&of_bytes(&[behind]).unwrap(), b"b"), None);
    gives(&[base(), Raw::default()], &BASE);
    assert!(of_bytes(&[vec![]]).is_ok(), "a layer of no bytes");
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).unwrap()
}

/// What becomes of an image of one layer that is stored as `bytes` and is of `tar`.
fn stored(bytes: Vec<u8>, suffix: &'static str, tar: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    layout_of_blobs(dir.path(), &[Blob { bytes, suffix, tar: tar.to_vec() }]);
    let tree = tree(dir.path(), 2).map_err(|error| whole(&error))?;
    assert!(node_at(&tree, b"a/x").is_some());
    Ok(())
}

#[test]
fn rule_13_the_bytes_say_how_a_layer_is_compressed_whatever_its_media_type_says() {
    let tar = base().end();
    for suffix in ["", "+gzip", "+zstd"] {
        for blob in [tar.clone(), gzip(&tar), zstd(&tar)] {
            stored(blob, suffix, &tar).unwrap();
        }
    }
    let (head, tail) = tar.split_at(1_000);
    stored([gzip(head), gzip(b""), gzip(tail), vec![0; 100]].concat(), "+gzip", &tar).unwrap();
    let skippable = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
    stored([skippable.clone(), zstd(head), skippable, zstd(tail)].concat(), "+zstd", &tar).unwrap();

    let garbage = stored([gzip(&tar), b"garbage".to_vec()].concat(), "+gzip", &tar).unwrap_err();
    assert!(garbage.contains("something that is not gzip follows"), "{garbage}");
    for (good, suffix) in [(gzip(&tar), "+gzip"), (zstd(&tar), "+zstd")] {
        for len in (1..good.len()).step_by(7) {
            assert!(stored(good[..len].to_vec(), suffix, &tar).is_err(), "{suffix}: {len} of {} bytes", good.len());
        }
    }
}

#[test]
fn rule_14_sizes_digests_and_counts_are_compared_with_what_was_announced() {
    let dir = tempfile::tempdir().unwrap();
    let (tar, blobs) = (base().end(), dir.path().join("blobs/sha256"));
    let blob = blobs.join(ocilayers::Digest::of(&tar).hex());
    let result = || tree(dir.path(), 1).map(|_| ()).map_err(|error| whole(&error));
    layout(dir.path(), std::slice::from_ref(&tar));
    assert_eq!(result(), Ok(()));

    let mut changed = tar.clone();
    *changed.last_mut().unwrap() = 1;
    fs::write(&blob, &changed).unwrap();
    let message = result().unwrap_err();
    assert!(message.contains("digest of") && message.contains("does not match"), "{message}");
    for len in [tar.len() - 1, tar.len() + 1] {
        changed.resize(len, 0);
        fs::write(&blob, &changed).unwrap();
        let message = result().unwrap_err();
        assert!(message.contains(&format!("{} bytes was announced", tar.len())), "{message}");
    }

    // The blob is what was announced, and not a compressed form of the layer that the config names.
    let message = stored(gzip(&tar), "+gzip", &raw().file("a/x", "").end()).unwrap_err();
    assert!(message.contains("diff_id") && message.contains("does not match"), "{message}");
    for bad in ["sha256:../../../etc/passwd", "sha256:ABCD", "md5:00"] {
        layout(dir.path(), std::slice::from_ref(&tar));
        let index = fs::read_to_string(dir.path().join("index.json")).unwrap();
        let at = index.find("sha256:").unwrap();
        fs::write(dir.path().join("index.json"), [&index[..at], bad, &index[at + 71..]].concat()).unwrap();
        let message = result().unwrap_err();
        assert!(message.contains("is not valid"), "{bad}: {message}");
    }
}
