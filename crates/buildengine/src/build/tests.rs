//! The loop over steps with a scripted sandbox, and a small suite with the real runtime. Root is needed: root
//! directories have owners, layers have whiteouts. Without root each test says so and stops.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use fstree::{Addition, Content, Diff, Kind, Metadata, Node, Removal, Timestamp, TreePath};
use ocilayers::{Layer, Store};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::output::Stream;
use crate::plan::{InlineFile, Sharing};
use crate::sandbox::{Ended, JobMount, OciRuntime};

/// A sandbox that does to the upper directory what the command's last argument asks for, and remembers the jobs.
#[derive(Debug, Default)]
struct Scripted {
    jobs: RefCell<Vec<Job>>,
}

impl Sandbox for Scripted {
    fn run(
        &self,
        _id: &str,
        job: &Job,
        _scratch: &Scratch,
        cancel: &Cancel,
        output: &mut dyn FnMut(Output<'_>),
    ) -> Result<Ended, Error> {
        self.jobs.borrow_mut().push(job.clone());
        let script = job.args.last().cloned().unwrap_or_default();
        let (verb, rest) = script.split_once(' ').unwrap_or((&script, ""));
        match verb {
            "write" => fs::write(job.disk.upper().join(rest), rest).unwrap(),
            "remove" => mknodat(CWD, job.disk.upper().join(rest), FileType::CharacterDevice, Mode::empty(), 0).unwrap(),
            "print" => output(Output::Bytes { stream: Stream::Stdout, bytes: rest.as_bytes() }),
            "exit" => return Ok(Outcome::Exited { status: rest.parse().unwrap(), out_of_memory: false }.into()),
            "oom" => return Ok(Outcome::Exited { status: 137, out_of_memory: true }.into()),
            "spoil" => {
                // Where its cache directory is kept is no directory any more: nobody can let go of it.
                let Some(JobMount::Bind { source, .. }) = job.mounts.first() else { unreachable!("it has a cache") };
                let shelf = source.parent().unwrap();
                fs::remove_dir_all(shelf).unwrap();
                fs::write(shelf, "").unwrap();
                return Ok(Outcome::Exited { status: rest.parse().unwrap(), out_of_memory: false }.into());
            }
            "fill" => {
                let outcome = Outcome::Exited { status: 1, out_of_memory: false };
                return Ok(Ended { disk_was_full: true, ..outcome.into() });
            }
            "cancel" => {
                cancel.cancel();
                return Ok(Outcome::Cancelled.into());
            }
            _ => unreachable!("no such script: {script}"),
        }
        Ok(Outcome::Exited { status: 0, out_of_memory: false }.into())
    }

    fn sweep(&self, _scratch: &Path) -> Result<(), Error> {
        Ok(())
    }
}

/// A state folder with a store and a base of a few files.
struct World {
    dir: tempfile::TempDir,
    store: Store,
}

impl World {
    /// `None`, said loudly, without root.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("DRYDOCK_REQUIRE_ALL").is_none(), "this test needs root");
            eprintln!("SKIPPED: this test needs root");
            return None;
        }
        let dir = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        let store = Store::open(&dir.path().join("layers"), ocilayers::Limits::default()).unwrap();
        Some(Self { dir, store })
    }

    fn base(&self) -> Vec<Layer> {
        let mut diff = Diff::default();
        for (path, text) in [("etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:7:8::/:/bin/sh\n"), ("old", "old")] {
            let source = diff.sources.add(std::sync::Arc::new(text.as_bytes().to_vec()));
            let kind = Kind::File(Content::stored(source, 0, u64::try_from(text.len()).unwrap()));
            let node = Node { metadata: Metadata { mode: 0o644, ..Metadata::default() }, kind };
            diff.additions.push(Addition::Entry { path: TreePath::parse(path.as_bytes()).unwrap(), node });
        }
        vec![self.store.commit(&diff).unwrap()]
    }

    fn build(
        &self,
        sandbox: &dyn Sandbox,
        actions: &[Action],
        options: Options,
    ) -> (Result<Built, Error>, Vec<String>) {
        let engine = Engine { store: &self.store, sandbox, state: self.dir.path(), remote: None, options };
        let steps = actions.iter().zip(1..).map(|(action, line)| Step::for_test(line, action.clone())).collect();
        let mut events = Vec::new();
        let plan = Plan::for_test(steps);
        let built = engine.build(&plan, self.base(), &Cancel::default(), &mut |event| {
            events.push(match event {
                Event::StepFinished { .. } => "done".to_owned(),
                Event::SandboxStarted { .. } => "run".to_owned(),
                Event::StepCached => "cached".to_owned(),
                Event::StepWaiting => "waiting".to_owned(),
                Event::Output { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                Event::OutputOmitted { bytes } => format!("{bytes} omitted"),
                Event::StepStarted { number, total, .. } => format!("{number}/{total}"),
            });
        });
        let scratch = self.dir.path().join("scratch");
        let left = fs::read_dir(&scratch).into_iter().flatten().filter(|entry| entry.as_ref().unwrap().path().is_dir());
        assert_eq!(left.count(), 0, "no scratch folder stays");
        (built, events)
    }

    fn files(&self, built: &Built) -> BTreeMap<PathBuf, String> {
        let tree = ocilayers::flatten(&built.layers, &ocilayers::Limits::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        rootfs::write(&tree, dir.path()).unwrap();
        let mut files = BTreeMap::new();
        let mut pending = vec![dir.path().to_owned()];
        while let Some(path) = pending.pop() {
            let name = path.strip_prefix(dir.path()).unwrap().to_owned();
            if path.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                files.insert(name, "/".to_owned());
            } else {
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
        files
    }
}

fn run(script: &str) -> Action {
    Action::Run(Run {
        args: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".to_owned(),
        user: String::new(),
        network: Network::None,
        mounts: vec![],
        files: vec![],
    })
}

fn run_with_cache(script: &str) -> Action {
    Action::Run(run_with_caches(script, Sharing::Shared, &["c"]))
}

fn run_with_caches(script: &str, sharing: Sharing, ids: &[&str]) -> Run {
    let Action::Run(run) = run(script) else { unreachable!("made as a run") };
    let cache = |id: &&str| {
        let target = format!("/cache/{id}");
        RunMount::Cache { id: (*id).to_owned(), target, sharing, read_only: false, mode: 0o750, uid: 7, gid: 8 }
    };
    Run { mounts: ids.iter().map(cache).collect(), ..run }
}

fn scratch_in(world: &World) -> Scratch {
    Scratch::create(&world.dir.path().join("scratch"), &Scripted::default()).unwrap()
}

fn shelf_in(world: &World, bytes_max: u64) -> Shelf {
    Shelf::new(&world.dir.path().join("cache-mounts"), bytes_max)
}

/// What a build has mounted for `run`, the cache directories held as long as this lives.
fn mounts_in(world: &World, scratch: &Scratch, run: &Run, cancel: &Cancel) -> Mounts {
    Mounts::prepare(shelf_in(world, 1 << 30), "", scratch, "id", run, cancel).unwrap()
}

fn source_of(mounts: &Mounts) -> PathBuf {
    let Some(JobMount::Bind { source, .. }) = mounts.list.first() else { unreachable!("a cache is a bind mount") };
    source.clone()
}

#[test]
fn builds_begin_with_one_cache_directory_at_once() {
    use std::os::unix::fs::MetadataExt;
    for _ in 0..50 {
        let Some(world) = World::new() else { return };
        let (world, cancel, begin) = (&world, &Cancel::default(), &std::sync::Barrier::new(4));
        let run = &run_with_caches("x", Sharing::Shared, &["c"]);
        let (done, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let done = done.clone();
                scope.spawn(move || {
                    let scratch = scratch_in(world);
                    begin.wait();
                    done.send(mounts_in(world, &scratch, run, cancel)).unwrap();
                });
            }
            drop(done);
            let told = || told.recv_timeout(Duration::from_secs(60)).inspect_err(|_| cancel.cancel());
            let held: Vec<Mounts> = (0..4).map(|_| told().expect("nobody waits for another")).collect();
            let found = fs::metadata(source_of(&held[0])).unwrap();
            assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o750, 7, 8));
        });
    }
}

#[test]
fn builds_that_want_the_same_caches_do_not_wait_for_each_other() {
    let Some(world) = World::new() else { return };
    let caches = |ids: &[&str]| {
        let run = run_with_caches("x", Sharing::Locked, ids);
        mounts_in(&world, &scratch_in(&world), &run, &Cancel::default())
    };
    let first = caches(&["x"]);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| drop(caches(&["y", "x"])));
        std::thread::sleep(Duration::from_millis(200));
        // It waits for the one, and does not hold the other meanwhile.
        let name = crate::cache::key::chain(&["cache mount", "", "y"]);
        let make = |path: &Path| {
            fs::create_dir(path).unwrap();
            Ok(())
        };
        let free = shelf_in(&world, 1 << 30).try_get_alone(&name, make).unwrap().is_some();
        drop(first);
        second.join().unwrap();
        assert!(free);
    });
}

#[test]
fn what_a_dead_build_left_in_a_cache_counts() {
    let Some(world) = World::new() else { return };
    let run = run_with_caches("x", Sharing::Shared, &["c"]);
    let mounts = mounts_in(&world, &scratch_in(&world), &run, &Cancel::default());
    let source = source_of(&mounts);
    fs::write(source.join("grown"), vec![1; 200_000]).unwrap();
    // Nobody says how large it is in the end.
    drop(mounts);
    shelf_in(&world, 300_000).prune().unwrap();
    assert!(source.exists());
    shelf_in(&world, 100_000).prune().unwrap();
    assert!(!source.exists());
}

#[test]
fn steps_become_layers_and_are_found_again() {
    let Some(world) = World::new() else { return };
    let sandbox = Scripted::default();
    let steps = [run("write new"), run("remove old"), run("print hello")];
    let (built, events) = world.build(&sandbox, &steps, Options::default());
    let built = built.unwrap();
    assert_eq!(events, ["1/3", "run", "done", "2/3", "run", "done", "3/3", "run", "hello", "done"]);
    let files = world.files(&built);
    assert_eq!(files.get(Path::new("new")).map(String::as_str), Some("new"));
    assert!(!files.contains_key(Path::new("old")));
    assert_eq!(files.get(Path::new("")).map(String::as_str), Some("/"));

    let (again, events) = world.build(&sandbox, &steps, Options::default());
    assert_eq!(events, ["1/3", "cached", "done", "2/3", "cached", "done", "3/3", "cached", "done"]);
    let ids = |built: &Built| built.layers.iter().map(|layer| *layer.diff_id()).collect::<Vec<_>>();
    assert_eq!(ids(&built), ids(&again.unwrap()));
    let (_, events) = world.build(&sandbox, &steps, Options { no_cache: true, ..Options::default() });
    assert_eq!(events.iter().filter(|event| *event == "run").count(), 3);

    // A new last step stands on cached ones: its root directory is written out anew, and holds what they made.
    let steps = [run("write new"), run("write newer")];
    let (built, events) = world.build(&sandbox, &steps, Options::default());
    assert_eq!(events, ["1/2", "cached", "done", "2/2", "run", "done"]);
    let files = world.files(&built.unwrap());
    assert!(["new", "newer", "old"].iter().all(|name| files.contains_key(Path::new(name))));
}

/// A sandbox that writes a file after a while, and counts how often it ran; the first time it fails if it is told to.
#[derive(Debug, Default)]
struct Slow {
    runs: AtomicU32,
    first_fails: bool,
}

impl Sandbox for Slow {
    fn run(
        &self,
        _id: &str,
        job: &Job,
        _scratch: &Scratch,
        _cancel: &Cancel,
        _output: &mut dyn FnMut(Output<'_>),
    ) -> Result<Ended, Error> {
        let number = self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(500));
        fs::write(job.disk.upper().join("made"), number.to_string()).unwrap();
        let status = i32::from(self.first_fails && number == 0);
        Ok(Outcome::Exited { status, out_of_memory: false }.into())
    }

    fn sweep(&self, _scratch: &Path) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn identical_steps_in_flight_run_once_unless_the_first_fails() {
    for (first_fails, runs) in [(false, 1), (true, 2)] {
        let Some(world) = World::new() else { return };
        let sandbox = Slow { first_fails, ..Slow::default() };
        let base = world.base();
        let build = || {
            let engine = Engine {
                store: &world.store,
                sandbox: &sandbox,
                state: world.dir.path(),
                remote: None,
                options: Options::default(),
            };
            let plan = Plan::for_test(vec![Step::for_test(1, run("x"))]);
            let mut waited = false;
            let built = engine.build(&plan, base.clone(), &Cancel::default(), &mut |event| {
                waited |= matches!(event, Event::StepWaiting);
            });
            (built.map(|built| built.layers.len()).ok(), waited)
        };
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(build), scope.spawn(build));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert_eq!(sandbox.runs.load(Ordering::SeqCst), runs);
        assert_eq!([one.0, other.0].iter().filter(|built| **built == Some(2)).count(), if first_fails { 1 } else { 2 });
        assert_eq!([one.1, other.1].iter().filter(|waited| **waited).count(), 1, "who waited was told");
        let steps = fs::read_dir(world.dir.path().join("steps")).unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(steps.filter(|path| path.extension().is_some_and(|end| end == "lock")).count(), 0);
    }
}

#[test]
fn a_step_that_changes_nothing_makes_no_layer() {
    let Some(world) = World::new() else { return };
    let sandbox = Scripted::default();
    for _ in 0..2 {
        let (built, _) = world.build(&sandbox, &[run("print x"), run("write new")], Options::default());
        assert_eq!(built.unwrap().layers.len(), 2, "the base and what was written");
    }
    assert_eq!(sandbox.jobs.borrow().len(), 2, "that nothing changed is remembered too");
}

#[test]
fn owners_share_what_is_public_and_nothing_else() {
    let Some(world) = World::new() else { return };
    let sandbox = Scripted::default();
    let ran = |action: &Action, owner: &str, private| {
        let before = sandbox.jobs.borrow().len();
        let options = Options { owner: owner.to_owned(), private, ..Options::default() };
        world.build(&sandbox, std::slice::from_ref(action), options).0.unwrap();
        sandbox.jobs.borrow().len() > before
    };
    let public = run("write new");
    assert!(ran(&public, "alice", false) && !ran(&public, "bob", false));
    assert!(ran(&public, "alice", true) && !ran(&public, "alice", true) && ran(&public, "bob", true));
    let cached = run_with_cache("write new");
    assert!(ran(&cached, "alice", false) && !ran(&cached, "alice", false) && ran(&cached, "bob", false));
    let caches = fs::read_dir(world.dir.path().join("cache-mounts")).unwrap();
    assert_eq!(caches.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 2, "one for each owner");
}

#[test]
fn a_forecast_says_what_changed() {
    let Some(world) = World::new() else { return };
    let sandbox = Scripted::default();
    world.build(&sandbox, &[run("write new")], Options::default()).0.unwrap();
    let forecast = |action: Action, options: Options| {
        let engine = Engine { store: &world.store, sandbox: &sandbox, state: world.dir.path(), remote: None, options };
        let base: Vec<String> = world.base().iter().map(|layer| layer.diff_id().to_string()).collect();
        let plan = Plan::for_test(vec![Step::for_test(1, action), Step::for_test(2, run("write newer"))]);
        engine.forecast(&plan, &base).unwrap()
    };
    let Action::Run(mut other) = run("write new") else { unreachable!("made as a run") };
    other.env.push("A=1".to_owned());
    other.user = "app".to_owned();
    let runs = |changed: Option<&[&str]>| Forecast::Runs {
        changed: changed.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    };
    assert_eq!(forecast(run("write new"), Options::default()), [Forecast::Cached, runs(None)]);
    let changed = runs(Some(&["the user", "the variable A"]));
    assert_eq!(forecast(Action::Run(other), Options::default()), [changed, Forecast::RunsAfterAnother]);
    let too_old = Options { max_age: Some(Duration::ZERO), ..Options::default() };
    assert_eq!(forecast(run("write new"), too_old)[0], runs(Some(&[])));
}

#[test]
fn failures_name_their_step_and_show_the_last_output() {
    let Some(world) = World::new() else { return };
    let sandbox = Scripted::default();
    let (failed, _) = world.build(&sandbox, &[run("write a"), run("exit 3")], Options::default());
    let error = failed.unwrap_err();
    assert!(matches!(&error, Error::CommandFailed { step: 2, steps: 2, line: 2, status: 3, .. }), "{error}");
    let (failed, _) = world.build(&sandbox, &[run("oom")], Options::default());
    assert!(matches!(failed.unwrap_err(), Error::LimitPassed { why, .. } if why.contains("memory")));
    let (failed, _) = world.build(&sandbox, &[run("fill")], Options::default());
    assert!(matches!(failed.unwrap_err(), Error::LimitPassed { limit: PassedLimit::Disk, .. }));
    let (failed, _) = world.build(&sandbox, &[run("cancel")], Options::default());
    assert!(matches!(failed.unwrap_err(), Error::Cancelled));
}

#[test]
fn what_stopped_a_command_comes_before_what_its_mounts_say() {
    for status in [3, 0] {
        let Some(world) = World::new() else { return };
        let spoil = run_with_cache(&format!("spoil {status}"));
        let error = world.build(&Scripted::default(), &[spoil], Options::default()).0.unwrap_err();
        match status {
            0 => assert!(matches!(error, Error::Scratch { .. }), "a cache that is lost is no success: {error}"),
            _ => assert!(matches!(error, Error::CommandFailed { status: 3, .. }), "{error}"),
        }
    }
}

#[test]
fn a_command_is_named_as_people_read_it() {
    let cases: [(&[&str], &str); 6] = [
        (&["/bin/sh", "-c", "make -j4 && make install"], "make -j4 && make install"),
        (&["/bin/bash", "-o", "pipefail", "-ec", "a | b"], "a | b"),
        (&["make", "-j4"], "make -j4"),
        (&["ls", "-la", "/nowhere"], "ls -la /nowhere"),
        (&["-c", "x"], "-c x"),
        (&["true"], "true"),
    ];
    for (args, said) in cases {
        let args: Vec<String> = args.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(command(&args), said);
    }
}

#[test]
fn working_directories_are_made_once_and_owned_by_the_user() {
    let Some(world) = World::new() else { return };
    let make = |path: &str, user: &str| Action::MakeDirectory { path: path.to_owned(), user: user.to_owned() };
    let sandbox = Scripted::default();
    let (built, _) =
        world.build(&sandbox, &[make("/srv/app", "app"), make("/srv/app", ""), make("/", "")], Options::default());
    let built = built.unwrap();
    assert_eq!(built.layers.len(), 2, "an existing directory makes no layer");
    let tree = ocilayers::flatten(&built.layers, &ocilayers::Limits::default()).unwrap();
    let app = tree.resolve(b"srv/app").unwrap().node.unwrap();
    assert_eq!((tree.node(app).metadata.uid, tree.node(app).metadata.gid, tree.node(app).metadata.mode), (7, 8, 0o755));
    let (failed, _) = world.build(&sandbox, &[make("/old/x", "")], Options::default());
    assert!(matches!(failed.unwrap_err(), Error::WorkingDirectory { line: 1, .. }));
}

#[test]
fn directories_of_the_running_system_are_no_working_directories() {
    let Some(world) = World::new() else { return };
    let sandbox = Scripted::default();
    for path in ["/proc/self/fd/8", "/sys", "/dev/../proc"] {
        let Action::Run(mut inside) = run("print x") else { unreachable!("made as a run") };
        inside.cwd = path.to_owned();
        let (failed, _) = world.build(&sandbox, &[Action::Run(inside)], Options::default());
        assert!(matches!(failed.unwrap_err(), Error::WorkingDirectory { .. }), "{path}");
    }
    assert!(sandbox.jobs.borrow().is_empty());
}

#[test]
fn no_file_is_younger_than_the_epoch() {
    let Some(world) = World::new() else { return };
    let sandbox = Scripted::default();
    let options = Options { epoch: Some(1_000_000_000), ..Options::default() };
    let (built, _) = world.build(&sandbox, &[run("write new")], options);
    let tree = ocilayers::flatten(&built.unwrap().layers, &ocilayers::Limits::default()).unwrap();
    let new = tree.resolve(b"new").unwrap().node.unwrap();
    assert_eq!(tree.node(new).metadata.mtime, Timestamp { seconds: 1_000_000_000, nanoseconds: 0 });
    assert!(sandbox.jobs.borrow()[0].env.contains(&"SOURCE_DATE_EPOCH=1000000000".to_owned()));
}

/// A base that can run commands: a static busybox.
fn busybox(world: &World) -> Option<Vec<Layer>> {
    let Ok(bytes) = fs::read("/bin/busybox") else {
        assert!(std::env::var_os("DRYDOCK_REQUIRE_ALL").is_none(), "this test needs busybox-static");
        eprintln!("SKIPPED: this test needs busybox-static");
        return None;
    };
    let mut diff = Diff::default();
    let len = u64::try_from(bytes.len()).unwrap();
    let source = diff.sources.add(std::sync::Arc::new(bytes));
    let metadata = Metadata { mode: 0o755, ..Metadata::default() };
    let mut add = |path: &str, kind: Kind| {
        let node = Node { metadata: metadata.clone(), kind };
        diff.additions.push(Addition::Entry { path: TreePath::parse(path.as_bytes()).unwrap(), node });
    };
    add("bin/busybox", Kind::File(Content::stored(source, 0, len)));
    for applet in
        ["sh", "cat", "id", "ls", "mkdir", "rm", "ln", "echo", "pwd", "mount", "env", "stat", "touch", "mknod"]
    {
        add(&format!("bin/{applet}"), Kind::Symlink((*b"busybox").into()));
    }
    add("tmp", Kind::Directory(Default::default()));
    Some(vec![world.store.commit(&diff).unwrap()])
}

#[test]
fn the_real_runtime_isolates_and_leaves_only_what_the_command_changed() {
    let Some(world) = World::new() else { return };
    let Some(base) = busybox(&world) else { return };
    let runtime = OciRuntime::find(&world.dir.path().join("scratch"), &[]).unwrap();
    let script = "set -e; cat /script; pwd; id -u; cat /etc/hosts >/dev/null; [ -e /proc/self ]; echo x >/tmp/f; rm /bin/mount; \
                  mkdir -p /a/b; ln /tmp/f /a/g; touch /cache/c; [ ! -e /sys/kernel/debug/x ]; ! mknod /tmp/dev b 8 0 2>/dev/null; ls /mem";
    let Action::Run(mut step) = run(script) else { unreachable!("made as a run") };
    step.cwd = "/tmp".to_owned();
    step.files = vec![InlineFile { path: "/script".to_owned(), content: "hello\n".to_owned(), mode: 0o755 }];
    let cache = RunMount::Cache {
        id: "c".to_owned(),
        target: "/cache".to_owned(),
        sharing: Sharing::Locked,
        read_only: false,
        mode: 0o700,
        uid: 0,
        gid: 0,
    };
    step.mounts = vec![cache, RunMount::Tmpfs { target: "/mem".to_owned(), size_bytes: Some(1 << 20) }];
    let engine = Engine {
        store: &world.store,
        sandbox: &runtime,
        state: world.dir.path(),
        remote: None,
        options: Options::default(),
    };
    let mut said = Vec::new();
    let plan = Plan::for_test(vec![Step::for_test(1, Action::Run(step))]);
    let built = engine.build(&plan, base, &Cancel::default(), &mut |event| {
        if let Event::Output { bytes, .. } = event {
            said.extend_from_slice(bytes);
        }
    });
    let said = String::from_utf8(said).unwrap();
    let built = built.unwrap_or_else(|error| panic!("{error:?}\n{said}"));
    assert!(said.starts_with("hello\n/tmp\n0\n"), "{said}");
    let diff: Vec<String> = {
        let before = fstree::dump(&ocilayers::flatten(&built.layers[..1], &ocilayers::Limits::default()).unwrap());
        let after = fstree::dump(&ocilayers::flatten(&built.layers, &ocilayers::Limits::default()).unwrap());
        let paths = |text: &str| {
            text.lines()
                .map(|line| line.split(' ').nth(if line.starts_with('h') { 1 } else { 6 }).unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let (before, after) = (paths(&before), paths(&after));
        let gone = before.iter().filter(|path| !after.contains(path)).map(|path| format!("-{path}"));
        let new = after.iter().filter(|path| !before.contains(path)).map(|path| format!("+{path}"));
        gone.chain(new).collect()
    };
    // Nothing of /proc, /etc/hosts, /cache, /mem or /script.
    assert_eq!(diff, ["-bin/mount", "+a", "+a/b", "+a/g", "+tmp/f"]);
}

#[test]
fn a_removal_with_a_marked_name_is_said_where_it_cannot_be_kept() {
    let Some(world) = World::new() else { return };
    let long = "n".repeat(253);
    let removals = vec![Removal::Path(TreePath::parse(long.as_bytes()).unwrap())];
    let error = world.store.commit(&Diff { removals, ..Diff::default() }).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

/// What hosts share, in memory.
#[derive(Debug, Default)]
struct Remote {
    steps: Mutex<BTreeMap<String, Vec<u8>>>,
    layers: Mutex<BTreeMap<String, Vec<u8>>>,
    age: Duration,
}

impl RemoteCache for Remote {
    fn step(&self, key: &str, _: &Cancel) -> Option<(Vec<u8>, Duration)> {
        self.steps.lock().unwrap().get(key).map(|entry| (entry.clone(), self.age))
    }

    fn layer(&self, diff_id: &str, _: u64, _: &Cancel) -> Option<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(self.layers.lock().unwrap().get(diff_id)?).unwrap();
        file.rewind().unwrap();
        Some(file)
    }

    fn refuse_layer(&self, diff_id: &str) {
        self.layers.lock().unwrap().remove(diff_id);
    }

    fn put(&self, made: MadeStep) {
        self.steps.lock().unwrap().insert(made.key().to_owned(), made.entry().to_vec());
        if let Some(diff_id) = made.layer() {
            let mut blob = Vec::new();
            made.write_layer(&mut blob).unwrap();
            self.layers.lock().unwrap().insert(diff_id, blob);
        }
    }
}

/// Builds `write new` on a host; how many commands ran, and the layer that came of it.
fn build_on(host: &World, remote: &Remote, options: Options) -> (usize, String) {
    let sandbox = Scripted::default();
    let remote: Option<&dyn RemoteCache> = Some(remote);
    let engine = Engine { store: &host.store, sandbox: &sandbox, state: host.dir.path(), remote, options };
    let plan = Plan::for_test(vec![Step::for_test(1, run("write new"))]);
    let base = host.base();
    let names: Vec<String> = base.iter().map(|layer| layer.diff_id().to_string()).collect();
    let forecast = engine.forecast(&plan, &names).unwrap();
    let built = engine.build(&plan, base, &Cancel::default(), &mut |_| ()).unwrap();
    let ran = sandbox.jobs.borrow().len();
    // A layer that turns out to be another one is not foreseen.
    assert!(ran == 1 || forecast == [Forecast::Cached]);
    (ran, built.layers.last().unwrap().diff_id().to_string())
}

#[test]
fn what_another_host_made_is_used_if_it_is_what_it_should_be() {
    let (Some(here), Some(there)) = (World::new(), World::new()) else { return };
    let remote = Remote::default();
    let (ran, layer) = build_on(&here, &remote, Options::default());
    assert_eq!((ran, remote.steps.lock().unwrap().len()), (1, 1));
    let right = remote.layers.lock().unwrap()[&layer].clone();

    // Damaged, cut off, another layer, no archive: the step runs, and the layer is asked for no more.
    let other = zstd_of(b"no archive");
    let mut damaged = right.clone();
    damaged[right.len() / 2] ^= 1;
    for wrong in [damaged, right[..right.len() - 3].to_vec(), other, Vec::new()] {
        let host = World::new().unwrap();
        remote.layers.lock().unwrap().insert(layer.clone(), wrong);
        assert_eq!(build_on(&host, &share(&remote), Options::default()).0, 1);
    }
    remote.layers.lock().unwrap().insert(layer.clone(), right);
    // An entry of another key, or none at all.
    let entries = remote.steps.lock().unwrap().clone();
    let (key, entry) = entries.first_key_value().unwrap();
    let text = String::from_utf8(entry.clone()).unwrap();
    for wrong in [text.replace(key, &"0".repeat(64)), text[1..].to_owned(), text.replace("sha256:", "../")] {
        let host = World::new().unwrap();
        let lying = share(&remote);
        lying.steps.lock().unwrap().insert(key.clone(), wrong.into_bytes());
        assert_eq!(build_on(&host, &lying, Options::default()).0, 1);
    }

    // Too old, or not wanted.
    let old = Remote { age: Duration::from_secs(100), ..share(&remote) };
    let host = World::new().unwrap();
    assert_eq!(build_on(&host, &old, Options { max_age: Some(Duration::from_secs(50)), ..Options::default() }).0, 1);
    assert_eq!(build_on(&host, &share(&remote), Options { no_cache: true, ..Options::default() }).0, 1);

    assert_eq!(build_on(&there, &remote, Options::default()), (0, layer.clone()));
    // From now on it has it itself.
    assert_eq!(build_on(&there, &Remote::default(), Options::default()), (0, layer));
}

fn zstd_of(content: &[u8]) -> Vec<u8> {
    // A frame with one raw block (RFC 8878, 3.1.1): magic, no checksum and one byte of size, the last block.
    let len = u8::try_from(content.len()).unwrap();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, len, len << 3 | 1, len >> 5, 0], content].concat()
}

fn share(remote: &Remote) -> Remote {
    Remote {
        steps: Mutex::new(remote.steps.lock().unwrap().clone()),
        layers: Mutex::new(remote.layers.lock().unwrap().clone()),
        age: remote.age,
    }
}
