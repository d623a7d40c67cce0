//! A process that is killed in the middle of a fetch: the next one does the rest, and removes what it left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use imagechunks::{Cache, FetchOptions, Manifest, PackOptions, Source, fetch};

use crate::common::{Files, OPTIONS, Packs, image, names, noise, small};

const DIR: &str = "DRYDOCK_CHUNKS_KILLED";

/// Gives so many reads and then waits to be killed.
struct Stuck {
    files: Files,
    reads: std::sync::Mutex<u32>,
    at: PathBuf,
}

impl Source for Stuck {
    fn read(&self, pack: &str, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
        let mut reads = self.reads.lock().unwrap();
        if *reads == 0 {
            fs::write(&self.at, "")?;
            loop {
                std::thread::park();
            }
        }
        *reads -= 1;
        self.files.read(pack, range)
    }
}

/// What the process does that is killed.
fn fetch_until_killed(dir: &Path) {
    let manifest = Manifest::decode(&fs::read(dir.join("manifest")).unwrap()).unwrap();
    let cache = Cache::open(dir.join("cache"), 1 << 30).unwrap();
    let source = Stuck { files: Files(dir.to_owned()), reads: std::sync::Mutex::new(2), at: dir.join("stuck") };
    let options = FetchOptions { threads: 1, ..OPTIONS };
    fetch(&manifest, &source, &cache, &dir.join("out"), &options).unwrap();
}

#[test]
fn a_killed_fetch_goes_on_where_it_was() {
    // The process that is killed is this test again, told where to work.
    if let Some(dir) = std::env::var_os(DIR) {
        return fetch_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut packs = Packs::default();
    let image = image(9 << 20, &[(0, &noise(8, 9 << 20))]);
    let (manifest, packed) = packs.pack("a.1", &image, &[], &PackOptions { chunk_bytes: 32 << 10, ..small() });
    fs::write(dir.path().join("manifest"), manifest.encode()).unwrap();
    fs::write(dir.path().join("a.1"), &packs.packs["a.1"]).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "killed::a_killed_fetch_goes_on_where_it_was"]).env(DIR, dir.path());
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !dir.path().join("stuck").exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(dir.path().join("stuck").exists(), "the other process comes to its third read");
    assert!(!dir.path().join("out").exists());
    let left = |name: &String| name.ends_with(".fetching");
    assert_eq!(names(dir.path()).iter().filter(|name| left(name)).count(), 1);

    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let rest = fetch(&manifest, &packs, &cache, &dir.path().join("out"), &OPTIONS).unwrap();
    assert!(rest.chunks_cached > 60 && rest.chunks_cached < packed.new_chunks, "{rest:?}");
    assert_eq!(rest.chunks_cached + rest.chunks_fetched, packed.new_chunks);
    assert_eq!(packs.bytes_read(), rest.bytes_fetched);
    assert!(fs::read(dir.path().join("out")).unwrap() == image.1);
    assert!(!names(dir.path()).iter().any(left));
}
