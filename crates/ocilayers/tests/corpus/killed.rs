//! A process that fills a store is killed at any moment: the next one finds every layer whole or not at all.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fstree::dump;
use ocilayers::{Image, ImageRef, Limits, Store, flatten};

use crate::raw::{layout, raw};

/// Where the image and the store are, in the process that is killed.
const PLACE: &str = "DRYDOCK_KILLED_STORE";
/// How often a process is killed.
const KILLS: u32 = 40;

fn fill(place: &Path) -> String {
    let limits = Limits::default();
    let image = Image::open(&ImageRef::Layout { dir: place.join("image"), tag: None }, &limits).unwrap();
    let store = Store::open(&place.join("store"), limits).unwrap();
    dump(&flatten(&store.layers(&image, Some(2)).unwrap(), &limits).unwrap())
}

/// The directories of the store that are no whole layers.
fn partial(place: &Path) -> usize {
    let names = fs::read_dir(place.join("store")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.len() != 64 && !name.as_encoded_bytes().starts_with(b".lock")).count()
}

#[test]
fn a_store_is_sound_after_a_kill_at_any_moment() {
    if let Some(place) = std::env::var_os(PLACE) {
        loop {
            fill(Path::new(&place));
            fs::remove_dir_all(Path::new(&place).join("store")).unwrap();
        }
    }
    let place = tempfile::tempdir().unwrap();
    let layer = |number: usize| {
        let files = (0..200).map(|n| format!("d{number}/f{n}"));
        files.fold(raw(), |all, name| all.file(&name, &name.repeat(2_000))).end()
    };
    layout(&place.path().join("image"), &(0..4).map(layer).collect::<Vec<_>>());
    let start = Instant::now();
    let expected = fill(place.path());
    let whole = start.elapsed();
    assert_eq!(expected.lines().count(), 1 + 4 * 201);
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "killed::a_store_is_sound_after_a_kill_at_any_moment"]).env(PLACE, place.path());
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Moments all over two rounds of filling, and never the same.
        std::thread::sleep(Duration::from_millis(5) + whole * 2 * kill / KILLS);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "it did not end by itself");
        assert!(fill(place.path()) == expected, "kill {kill}: another tree");
        assert_eq!(partial(place.path()), 0, "kill {kill}: what was left is swept");
    }
}
