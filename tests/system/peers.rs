//! Images that other builders made flatten to what other tools show of them: umoci's unpacked directory, and the overlay
//! that the kernel makes of the layers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use drydock_tests::{Entry, Mounted, differences, drydock, fsck, list, privileged, run};

/// What a first layer holds: every kind of file, names and attributes that tools trip over.
const BASE: &str = r#"
cd "$1"; umask 022
mkdir -p usr/bin etc/apt/lists var/log opt/a/b home "$(printf 'caf\351')" "$(printf 'line\nfeed')"
ln -s usr/bin bin; ln -s ../etc etc/loop; ln -s /nowhere/at/all dangling
for f in usr/bin/sh usr/bin/ls etc/passwd etc/apt/lists/one etc/apt/lists/two opt/a/b/f1 opt/a/b/f2 home/file; do echo "$f" >$f; done
ln usr/bin/sh usr/bin/bash; ln opt/a/b/f1 opt/a/linked; ln dangling dangling-too
head -c 300000 /dev/zero | tr '\0' x >var/log/big; truncate -s 5M var/log/sparse; echo end >>var/log/sparse
mknod opt/null c 1 3; mknod opt/disk b 8 1; mkfifo opt/pipe
chmod 4755 usr/bin/ls; chmod 1777 home; chown 3000000:4294967294 opt/a
setfattr -n user.bytes -v 0x00ff0a3d opt/a/b/f2; setfattr -n user.dir -v d opt/a
setfacl -m u:1000:rx opt/a/b/f2; setcap cap_net_raw+ep usr/bin/sh
long=$(printf 'n%.0s' $(seq 250)); mkdir -p "opt/$long/$long"; echo deep >"opt/$long/$long/f"
touch -d '1969-12-31 00:00:00 UTC' home/file; touch -d '2106-02-07 06:28:15.123456789 UTC' etc/passwd
"#;
/// What a second layer changes.
const CHANGE: &str = r#"
cd "$1"; umask 022
rm -r etc/apt/lists; mkdir etc/apt/lists; echo new >etc/apt/lists/three
rm usr/bin/ls opt/pipe; echo changed >usr/bin/bash; rm var/log/big; mkdir var/log/big; echo in >var/log/big/in
rm -r opt/a/b; echo 'a file now' >opt/a/b; ln opt/a/linked opt/a/again; chmod 700 opt/a; chown 7:8 home
setfattr -x user.dir opt/a; rm dangling; mkdir dangling; echo x >dangling/x
"#;
/// And a third.
const AGAIN: &str = r#"
cd "$1"; umask 022
rm opt/a/b; mkdir opt/a/b; echo back >opt/a/b/f1; rm -r dangling var/log/big; echo file >var/log/big
rm usr/bin/bash; ln usr/bin/sh usr/bin/bash; mkdir -p etc/apt/lists/partial; rm etc/apt/lists/three
mv opt/null opt/zero; touch -d '2001-02-03 04:05:06.7 UTC' etc
"#;
const TOOLS: [&str; 6] = ["buildah", "umoci", "setfattr", "setfacl", "setcap", "e2fsck"];

fn shell(script: &str, argument: &Path) {
    run(Command::new("sh").args(["-euc", script, "step"]).arg(argument));
}

/// Everything of the image in `layout` but what nobody says: when its root was made.
fn ours(layout: &Path, scratch: &Path) -> std::collections::BTreeMap<PathBuf, Entry> {
    let image = scratch.join("image.ext4");
    let mut write = Command::new(drydock());
    write.args(["image", "ext4"]).arg(format!("oci:{}:latest", layout.display())).arg("--output").arg(&image);
    run(write.args(["--size", "64MiB", "--state"]).arg(scratch.join("state")));
    fsck(&image);
    list(Mounted::new(&image, "ro").path())
}

#[track_caller]
fn same(ours: &std::collections::BTreeMap<PathBuf, Entry>, theirs: &std::collections::BTreeMap<PathBuf, Entry>) {
    assert!(ours.len() > 30, "only {} names", ours.len());
    let lines = differences(ours, theirs, |path| path == Path::new("lost+found") || path == Path::new(""));
    assert!(lines.is_empty(), "{} differences:\n{}", lines.len(), lines.join("\n"));
}

fn umoci_unpacks(layout: &Path, bundle: &Path) -> PathBuf {
    run(Command::new("umoci").arg("unpack").arg("--image").arg(format!("{}:latest", layout.display())).arg(bundle));
    bundle.join("rootfs")
}

/// Storage of buildah that ends with the test.
struct Buildah(tempfile::TempDir);

impl Buildah {
    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.0.path().join("root")).arg("--runroot").arg(self.0.path().join("run"));
        let output = run(command.args(["--storage-driver", "overlay"]).args(args));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The image `name`: `base` and a layer more, made by `script`.
    fn step(&self, base: &str, script: &str, name: &str) {
        let container = self.run(&["from", "--pull-never", base]);
        shell(script, Path::new(&self.run(&["mount", &container])));
        self.run(&["umount", &container]);
        self.run(&["commit", "--quiet", "--format", "oci", "--rm", &container, name]);
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let _ = Command::new("buildah")
            .arg("--root")
            .arg(self.0.path().join("root"))
            .arg("--runroot")
            .arg(self.0.path().join("run"))
            .args(["--storage-driver", "overlay", "rm", "--all"])
            .output();
    }
}

#[test]
fn an_image_of_buildah_is_what_the_overlay_of_its_layers_shows() {
    if !privileged(&TOOLS) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let buildah = Buildah(tempfile::tempdir().unwrap());
    buildah.step("scratch", BASE, "localhost/one");
    buildah.step("localhost/one", CHANGE, "localhost/two");
    buildah.step("localhost/two", AGAIN, "localhost/three");
    let layout = scratch.path().join("layout");
    buildah.run(&["push", "--quiet", "localhost/three", &format!("oci:{}:latest", layout.display())]);

    let container = buildah.run(&["from", "--pull-never", "localhost/three"]);
    let overlay = PathBuf::from(buildah.run(&["mount", &container]));
    let kind = run(Command::new("stat").args(["-f", "-c", "%T"]).arg(&overlay)).stdout;
    assert_eq!(String::from_utf8_lossy(&kind).trim(), "overlayfs");
    let ours = ours(&layout, scratch.path());
    let mut as_extracted = ours.clone();
    // The one difference: buildah extracts times before 1970 as 1970. The layer has the time, and so have we and umoci.
    let before_1970 = as_extracted.values_mut().filter(|entry| entry.mtime.0 < 0);
    assert_eq!(before_1970.map(|entry| entry.mtime = (0, 0)).count(), 1);
    same(&as_extracted, &list(&overlay));
    buildah.run(&["umount", &container]);
    same(&ours, &list(&umoci_unpacks(&layout, &scratch.path().join("bundle"))));
}

#[test]
fn an_image_of_umoci_is_what_umoci_unpacks() {
    if !privileged(&TOOLS) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let layout = scratch.path().join("layout");
    let image = format!("{}:latest", layout.display());
    run(Command::new("umoci").args(["init", "--layout"]).arg(&layout));
    run(Command::new("umoci").args(["new", "--image", &image]));
    for (number, script) in [BASE, CHANGE, AGAIN].into_iter().enumerate() {
        let bundle = scratch.path().join(format!("bundle{number}"));
        shell(script, &umoci_unpacks(&layout, &bundle));
        run(Command::new("umoci").args(["repack", "--image", &image]).arg(&bundle));
        fs::remove_dir_all(&bundle).unwrap();
    }
    same(&ours(&layout, scratch.path()), &list(&umoci_unpacks(&layout, &scratch.path().join("again"))));
}
