//! kill -9 at any moment of a build: the next start cleans up, and the same build then succeeds.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use drydock_tests::{Random, busybox_base, cache, drydock, fsck, privileged, run};

use crate::failures::processes_with;
use crate::left;

const KILLS: u64 = 50;
/// What the commands carry, so that their processes are known.
const MARKER: &str = "16180339";
/// Everything a build does: a root file system, steps that take a while, layers, a cache mount, directories, an image.
const DOCKERFILE: &str = "FROM base
ENV A=1
WORKDIR /srv/app
RUN : 16180339; head -c 4194304 /dev/urandom >random; sleep 0.05; for n in 1 2 3 4 5 6 7 8 9; do echo $n >f$n; done
RUN --mount=type=cache,target=/c : 16180339; echo $A >>/c/f; sleep 0.05; rm f3
USER 12:34
RUN id >/tmp/id; sleep 0.05 # 16180339
";

/// The same build again and again.
struct Place {
    dir: tempfile::TempDir,
    base: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(cache()).unwrap();
        let base = busybox_base(dir.path());
        fs::create_dir(dir.path().join("out")).unwrap();
        fs::write(dir.path().join("Dockerfile"), DOCKERFILE).unwrap();
        Self { dir, base }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn build(&self) -> Command {
        let mut command = Command::new(drydock());
        command.arg("build").arg("-f").arg(self.path("Dockerfile")).args(["--base", &format!("base={}", self.base)]);
        command.args(["--size", "32MiB", "-o"]).arg(self.path("out/image.ext4")).arg("--state").arg(self.path("state"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// What is left on the machine of all builds in this state, in words.
    fn left(&self) -> Vec<String> {
        [processes_with(MARKER), left::of(&self.path("state"))].concat()
    }

    /// The names beside the image and in the state directory; of layers, roots and steps, which differ with what was done before
    /// the kill, those alone that are unfinished.
    fn names(&self) -> BTreeSet<String> {
        let list = |place: &'static str| {
            let entries = fs::read_dir(self.path(place)).unwrap().map(|entry| entry.unwrap().file_name());
            entries.map(move |name| format!("{place}/{}", name.to_string_lossy()))
        };
        let whole = ["out", "state", "state/scratch", "state/cache-mounts"].into_iter().flat_map(list);
        let unfinished = |name: &String| name.contains("partial") || name.contains(".gone") || name.contains(".tmp");
        whole
            .chain(["state/layers", "state/roots", "state/steps"].into_iter().flat_map(list).filter(unfinished))
            .collect()
    }
}

#[test]
fn the_same_build_succeeds_after_a_kill_at_any_moment() {
    if !privileged(&["runc", "busybox", "e2fsck"]) {
        return;
    }
    let place = Place::new();
    let started = Instant::now();
    run(&mut place.build());
    let whole = u64::try_from(started.elapsed().as_micros()).unwrap();
    let names = place.names();
    assert_eq!(place.left(), Vec::<String>::new());

    let seed = std::env::var("DRYDOCK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() | 1);
    let mut random = Random(seed);
    for kill in 0..KILLS {
        let at = random.below(whole);
        let told = format!("kill {kill} after {at} of {whole} us, DRYDOCK_SEED={seed}");
        // From nothing, and with the base and its root file system there.
        let again = if kill % 2 == 0 { "state" } else { "state/steps" };
        fs::remove_dir_all(place.path(again)).unwrap();
        let mut build = place.build().spawn().unwrap();
        std::thread::sleep(Duration::from_micros(at));
        build.kill().unwrap();
        build.wait().unwrap();

        let output = place.build().output().unwrap();
        assert!(output.status.success(), "{told}: {}", String::from_utf8_lossy(&output.stderr));
        fsck(&place.path("out/image.ext4"));
        assert_eq!(place.left(), Vec::<String>::new(), "{told}");
        if again == "state" {
            assert_eq!(place.names(), names, "{told}");
        }
    }
}
