//! Many hosts as one service: one database, one directory of objects, and data folders of their own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use drydock::FailureCode;
use drydock_tests::Postgres as Server;
use templates::store::{Postgres, Store};
use templates::{Config, Follower, Piece, Selector, Status, Template, Templates};

use crate::builder::{Scripted, alice, ended, submit, wait};

pub(crate) struct Hosts {
    server: Server,
    pub(crate) address: String,
    dir: tempfile::TempDir,
}

impl Hosts {
    pub(crate) fn new() -> Option<Self> {
        let server = Server::start()?;
        let address = server.database("drydock");
        Some(Self { server, address, dir: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.data("objects")
    }

    pub(crate) fn host(&self, name: &str, builders: usize) -> Templates {
        self.host_that_collects(name, builders, Duration::ZERO)
    }

    /// With a long grace it collects nothing while a test runs.
    pub(crate) fn host_that_collects(&self, name: &str, builders: usize, grace: Duration) -> Templates {
        self.host_with(name, builders, grace, |_| ())
    }

    pub(crate) fn host_with(
        &self,
        name: &str,
        builders: usize,
        grace: Duration,
        change: impl FnOnce(&mut Config),
    ) -> Templates {
        let mut config = Config::new(self.data(name));
        config.database = Some(self.address.clone());
        config.objects = Some(self.objects().display().to_string());
        config.builders = builders;
        // No busy machine keeps a heartbeat back for so long: who loses an attempt here lost it on purpose.
        config.lease = Duration::from_secs(10);
        config.grace = grace;
        change(&mut config);
        let host = Templates::open(config, Scripted::default()).unwrap();
        host.start();
        host
    }

    /// Lines that are in the database.
    fn lines(&self) -> String {
        self.count("log_lines")
    }

    /// Rows of a table.
    pub(crate) fn count(&self, table: &str) -> String {
        let answer = self.server.psql("drydock", &format!("SELECT count(*) FROM {table}"));
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    }

    /// Changes the database behind everybody's back.
    pub(crate) fn sql(&self, statements: &str) {
        let answer = self.server.psql("drydock", statements);
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    }
}

fn follow(host: &Templates, template: &Template, since: u64) -> Follower {
    host.logs(&alice(), &Selector::Id(template.id.clone()), None, since).unwrap()
}

/// Every line to the end, and how many milliseconds after it was written one was seen, at most.
fn read_to_end(mut follower: Follower) -> (Vec<String>, i64, templates::End) {
    let (mut lines, mut late) = (Vec::new(), 0);
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        match follower.next_piece().unwrap() {
            Piece::Lines(bytes) => {
                let now = jiff::Timestamp::now().as_millisecond();
                for line in String::from_utf8(bytes).unwrap().lines() {
                    let value: serde_json::Value = serde_json::from_str(line).unwrap();
                    let written: jiff::Timestamp = value["ts"].as_str().unwrap().parse().unwrap();
                    late = late.max(now - written.as_millisecond());
                    lines.push(line.to_owned());
                }
            }
            Piece::End(end) => return (lines, late, *end),
            Piece::Idle => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("the log does not end");
}

fn numbers(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
    lines.iter().map(number).collect()
}

pub(crate) fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Until it is so; ten seconds are far more than it takes.
pub(crate) fn until(so: impl Fn() -> bool) -> bool {
    (0..500).any(|_| {
        so() || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }
    })
}

#[test]
fn what_one_host_takes_another_builds_and_all_see() {
    let Some(hosts) = Hosts::new() else { return };
    let (api, builder) = (hosts.host("api", 0), hosts.host("builder", 1));
    let commands: String = (0..40).map(|number| format!("say line {number};sleep 50;")).collect();
    let template = submit(&api, "env", &commands);
    let read: Vec<_> = std::thread::scope(|scope| {
        let readers: Vec<_> = [&api, &builder, &api, &builder]
            .into_iter()
            .map(|host| scope.spawn(|| read_to_end(follow(host, &template, 0))))
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    for (lines, late, end) in &read {
        assert_eq!(end.status, Status::Ready);
        assert_eq!(numbers(lines), (0..end.next_seq).collect::<Vec<_>>(), "in order, none lost, none doubled");
        assert_eq!(lines, &read[0].0);
        assert!(*late < 1_000, "{late} ms");
    }
    // Afterwards, from any place on, on any host.
    assert!(until(|| hosts.lines() == "0"), "the lines are an object now");
    for since in [0, 7, 50] {
        for host in [&api, &builder] {
            let (lines, _, end) = read_to_end(follow(host, &template, since));
            assert_eq!(
                (lines.as_slice(), end.next_seq),
                (&read[0].0[usize::try_from(since).unwrap()..], read[0].2.next_seq)
            );
        }
    }
    let [here, there] = [&api, &builder].map(|host| host.resolve(&alice(), &"env".parse().unwrap()).unwrap());
    assert_ne!(here.image, there.image, "each has a copy of its own");
    assert_eq!(std::fs::read(here.image).unwrap(), std::fs::read(there.image).unwrap());
    assert_eq!(here.config, there.config);
    for name in ["api", "builder"] {
        assert!(until(|| files(&hosts.data(name).join("logs")).is_empty()), "no log is kept twice");
    }
    // A second one is not built again, wherever it is taken.
    let again = ended(&api, &submit(&builder, "again", &commands));
    assert_eq!(again.image_digest, there.template.image_digest);
    assert!(until(|| api.stats().reused + builder.stats().reused == 1), "it is counted once its state is written");
    // And all of it goes.
    for name in ["env", "again"] {
        api.delete(&alice(), &name.parse().unwrap()).unwrap();
    }
    let gone = |dir: &str| until(|| files(&hosts.data(dir)).iter().all(|name| name == "tmp"));
    for dir in ["objects/manifests", "objects/packs", "objects/logs", "objects/tmp", "api/images", "builder/images"] {
        assert!(gone(dir), "{dir}: {:?}", files(&hosts.data(dir)));
    }
}

#[test]
fn a_cancellation_reaches_the_host_that_builds() {
    let Some(hosts) = Hosts::new() else { return };
    let (api, _builder) = (hosts.host("api", 0), hosts.host("builder", 1));
    let template = wait(&api, &submit(&api, "env", "hang"), |now| now.status == Status::Building);
    let begun = Instant::now();
    api.cancel(&alice(), &Selector::Id(template.id.clone())).unwrap();
    assert_eq!(ended(&api, &template).failure.unwrap().code, FailureCode::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let deleted = wait(&api, &submit(&api, "env", "hang"), |now| now.status == Status::Building);
    let follower = follow(&api, &deleted, 0);
    api.delete(&alice(), &Selector::Id(deleted.id.clone())).unwrap();
    assert_eq!(read_to_end(follower).2.failure.unwrap().message, "the template was deleted");
    let third = ended(&api, &submit(&api, "env", "say the builder is free again"));
    assert_eq!(third.status, Status::Ready);
}

/// A host that took the job and is never heard of again: its lines stay, and its image goes.
#[test]
fn a_host_that_is_gone_is_replaced_and_tidied_after() {
    let Some(hosts) = Hosts::new() else { return };
    let api = hosts.host("api", 0);
    let template = submit(&api, "env", "say 1;sleep 1500;say 2");
    let dead = Postgres::open(&hosts.address).unwrap();
    assert_eq!(dead.claim("dead", Duration::from_secs(1)).unwrap().unwrap().template.id, template.id);
    let digest = "0".repeat(64);
    let orphan = hosts.objects().join("images").join(&digest);
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::write(orphan.join(format!("{}.1", template.id)), "half of it was never named").unwrap();
    api.collect().unwrap();
    assert!(orphan.exists(), "its attempt may still end");
    let builder = hosts.host("builder", 1);
    let (lines, _, end) = read_to_end(follow(&api, &template, 0));
    assert_eq!((end.status, end.attempt), (Status::Ready, 2));
    assert_eq!(numbers(&lines), (0..end.next_seq).collect::<Vec<_>>());
    assert!(!dead.finish(&template.id, 1, &crate::conformance::image(&digest)).unwrap(), "too late");
    builder.collect().unwrap();
    assert!(until(|| !orphan.exists()));
    assert!(api.resolve(&alice(), &"env".parse().unwrap()).is_ok());
}

#[test]
fn a_stop_gives_the_build_to_another_host_and_the_log_goes_on() {
    let Some(hosts) = Hosts::new() else { return };
    let (api, first) = (hosts.host("api", 0), hosts.host("first", 1));
    let template = wait(&api, &submit(&api, "env", "say 1;sleep 700;say 2"), |now| now.status == Status::Building);
    let follower = follow(&api, &template, 0);
    first.stop(Duration::ZERO);
    let _second = hosts.host("second", 1);
    let (lines, _, end) = read_to_end(follower);
    assert_eq!((end.status, end.attempt), (Status::Ready, 2));
    assert_eq!(numbers(&lines), (0..end.next_seq).collect::<Vec<_>>());
    assert!(lines.iter().any(|line| line.contains("The service stops")));
    assert!(until(|| hosts.lines() == "0"));
    let attempt = |number| api.logs(&alice(), &Selector::Id(template.id.clone()), Some(number), 0).unwrap();
    let [one, two] = [1, 2].map(|number| read_to_end(attempt(number)).0);
    assert_eq!([one, two].concat(), lines);
}

#[test]
fn a_crash_of_the_database_costs_no_line_and_no_build() {
    let Some(mut hosts) = Hosts::new() else { return };
    let (api, _builder) = (hosts.host("api", 0), hosts.host("builder", 1));
    let commands: String = (0..60).map(|number| format!("say line {number};sleep 50;")).collect();
    let template = wait(&api, &submit(&api, "env", &commands), |now| now.status == Status::Building);
    let (lines, _, end) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_to_end(follow(&api, &template, 0)));
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(600));
            hosts.server.kill();
            hosts.server.restart();
        }
        reader.join().unwrap()
    });
    assert_eq!((end.status, end.attempt), (Status::Ready, 1));
    assert_eq!(numbers(&lines), (0..end.next_seq).collect::<Vec<_>>());
}

#[test]
fn objects_need_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::builder::config(dir.path());
    config.objects = Some(dir.path().join("objects").display().to_string());
    let refused = Templates::open(config, Scripted::default()).unwrap_err();
    assert!(refused.to_string().contains("set `database`"), "{refused}");
}

#[test]
fn a_database_without_objects_is_one_hosts() {
    let Some(hosts) = Hosts::new() else { return };
    let open = |name: &str, objects: Option<PathBuf>| {
        let mut config = crate::builder::config(&hosts.data(name));
        config.database = Some(hosts.address.clone());
        config.objects = objects.map(|path| path.display().to_string());
        Templates::open(config, Scripted::default()).map(drop).map_err(|error| drydock::explain(&error))
    };
    open("one", None).unwrap();
    open("one", None).unwrap();
    let refused = open("other", None).unwrap_err();
    assert!(refused.contains("set `objects` on each of them"), "{refused}");
    let refused = open("one", Some(hosts.objects())).unwrap_err();
    assert!(refused.contains("alone, which has the images"), "{refused}");

    hosts.sql("DELETE FROM hosts");
    open("one", Some(hosts.objects())).unwrap();
    open("other", Some(hosts.objects())).unwrap();
    let refused = open("third", None).unwrap_err();
    assert!(refused.contains("set `objects` to theirs"), "{refused}");
}
