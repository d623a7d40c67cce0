//! What the whole-system tests share: the binary under test, a base image, mounts, and a listing of a tree.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test helper fails its test and talks to whoever runs it"
)]

mod listing;
mod machine;
mod postgres;
mod random;
mod rows;
mod unmount;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use unmount::unmount;

pub use listing::{Entry, differences, list, list_without};
pub use machine::{MACHINE_TOOLS, machine};
pub use postgres::Postgres;
pub use random::Random;
pub use rows::assert_no_problems;

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Says loudly that a test does not run; with `DRYDOCK_REQUIRE_ALL=1`, as in CI, that is a failure.
///
/// # Panics
/// With `DRYDOCK_REQUIRE_ALL=1`.
pub fn skip(why: &str) {
    assert!(std::env::var_os("DRYDOCK_REQUIRE_ALL").is_none_or(|value| value != "1"), "can't be skipped here: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Whether the tests can mount and run containers; a skip was said when not.
#[must_use]
pub fn privileged(tools: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("this test needs root");
        return false;
    }
    for tool in tools {
        let found = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|directory| Path::new(directory).join(tool).exists());
        if !found {
            skip(&format!("this test needs {tool}; scripts/setup test run installs it"));
            return false;
        }
    }
    true
}

/// The folder of shared corpora and checkers, if `DRYDOCK_SHARED` names it; a skip was said when not.
#[must_use]
pub fn shared() -> Option<PathBuf> {
    let place = std::env::var_os("DRYDOCK_SHARED").map(PathBuf::from);
    if place.is_none() {
        skip("this test needs DRYDOCK_SHARED, the folder of the shared corpora and checkers");
    }
    place
}

/// The binary under test: the one `DRYDOCK_BINARY` names, else the optimised one, built once a run.
///
/// # Panics
/// When it can't be built.
#[must_use]
pub fn drydock() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(binary) = std::env::var_os("DRYDOCK_BINARY") {
            return fs::canonicalize(binary).expect("DRYDOCK_BINARY names the binary under test");
        }
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // The optimised binary: it is what users run.
        build.args(["build", "--quiet", "--release", "--package", "cli", "--message-format=json"]);
        let output = build.current_dir(workspace()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let messages = String::from_utf8(output.stdout).unwrap();
        let mut executables = messages.lines().rev().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(message.get("executable")?.as_str()?))
        });
        executables.next().expect("cargo names the executable")
    })
}

/// A folder that outlives the run, beside the binary: what takes long to make is made once.
///
/// # Panics
/// When it can't be made.
#[must_use]
pub fn cache() -> PathBuf {
    let dir = drydock().parent().unwrap().join("system-tests");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// The folder `name` of the [`cache`], which `make` makes where it is not there. Who wants it meanwhile waits, in this process and in
/// others; it appears whole.
///
/// # Panics
/// When it can't be made.
pub fn made_once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let [dir, partial, lock] = ["", ".partial", ".lock"].map(|end| cache().join(format!("{name}{end}")));
    let maker = File::create(lock).unwrap();
    flock(&maker, FlockOperation::LockExclusive).unwrap();
    if !dir.exists() {
        if partial.exists() {
            fs::remove_dir_all(&partial).unwrap();
        }
        make(&partial);
        fs::rename(partial, &dir).unwrap();
    }
    dir
}

/// A Debian base image in an OCI layout: `oci:DIR:debian`. Made once by mmdebstrap and `drydock image import`.
///
/// # Panics
/// When it can't be made.
#[must_use]
pub fn base_image() -> &'static str {
    static BASE: OnceLock<String> = OnceLock::new();
    BASE.get_or_init(|| {
        let dir = made_once("base", |dir| {
            let scratch = tempfile::tempdir_in(cache()).unwrap();
            let tar = scratch.path().join("base.tar");
            let suite = ["--quiet", "--variant=minbase", "--format=tar", "bookworm"];
            run(Command::new("mmdebstrap").args(suite).arg(&tar));
            import(&tar, dir, "debian");
        });
        format!("oci:{}:debian", dir.display())
    })
}

/// Makes a layer of `tar` the image `tag` of the OCI layout `dir`.
///
/// # Panics
/// When that fails.
pub fn import(tar: &Path, dir: &Path, tag: &str) {
    let name = format!("oci:{}:{tag}", dir.display());
    run(Command::new(drydock()).args(["image", "import"]).arg(tar).arg(name));
}

/// A base image of one program in an OCI layout in `dir`: a build on it takes a fraction of a second.
///
/// # Panics
/// When it can't be made.
pub fn busybox_base(dir: &Path) -> String {
    let root = dir.join("busybox");
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let program = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    fs::copy(program, root.join("bin/busybox")).unwrap();
    for name in ["sh", "head", "sleep", "rm", "id", "true", "mkdir", "cat"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    run(Command::new("chmod").arg("1777").arg(root.join("tmp")));
    let tar = dir.join("busybox.tar");
    run(Command::new("tar")
        .args(["--create", "--owner=0", "--group=0", "--file"])
        .arg(&tar)
        .arg("-C")
        .arg(&root)
        .arg("."));
    let layout = dir.join("layout");
    import(&tar, &layout, "busybox");
    format!("oci:{}:busybox", layout.display())
}

/// Runs a command that has to succeed.
///
/// # Panics
/// When it does not.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Panics
/// When it can't be read.
#[must_use]
pub fn sha256(path: &Path) -> String {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    let mut file = fs::File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).unwrap() {
            0 => break,
            len => hash.update(&buffer[..len]),
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image mounted through a loop device; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted(tempfile::TempDir);

impl Mounted {
    /// Mounts `image` with `options` (`ro` or `rw`).
    ///
    /// # Panics
    /// When the kernel does not mount it.
    #[must_use]
    pub fn new(image: &Path, options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        run(Command::new("mount").args(["-o", &format!("loop,{options}")]).arg(image).arg(dir.path()));
        Self(dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.0.path());
    }
}

/// `e2fsck -fn` and what it said.
///
/// # Panics
/// When it finds anything.
pub fn fsck(image: &Path) {
    run(Command::new("e2fsck").args([OsStr::new("-fn"), image.as_os_str()]));
}
