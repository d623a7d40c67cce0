//! Templates from submission to their end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use drydock::FailureCode;
use serde_json::Value;
use templates::{Error, Follower, Owner, Piece, Selector, Status, Submission, Submitted, Templates};

use crate::builder::{Scripted, alice, config, ended, ready, service, submission, submit, wait};

/// All lines of a log to its end, as JSON.
fn read_to_end(follower: &mut Follower) -> (Vec<Value>, templates::End) {
    let mut lines = Vec::new();
    for _ in 0..6_000 {
        match follower.next_piece().unwrap() {
            Piece::Lines(bytes) => {
                let whole = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
                lines.extend(whole.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
            }
            Piece::End(end) => return (lines, *end),
            Piece::Idle => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("the log does not end");
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| line["stream"].as_str().unwrap()).collect()
}

#[test]
fn a_build_is_followed_to_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let template = submit(&templates, "env", "say hello;sleep 50;say done");
    assert_eq!((template.status, template.ext4_size_bytes, template.built_at), (Status::Pending, 0, None));
    let id = Selector::Id(template.id.clone());
    let (lines, end) = read_to_end(&mut templates.logs(&alice(), &id, None, 0).unwrap());
    assert_eq!((end.status, end.failure, end.attempt), (Status::Ready, None, 1));
    let log = text(&lines);
    assert!(log.starts_with("Step 1/4 : FROM nodeops/sandbox:debian\n ---> "), "{log}");
    assert!(log.contains("Step 2/4 : RUN say hello\nhello\n ---> "), "{log}");
    assert!(log.lines().last().unwrap().starts_with("Successfully built "), "{log}");
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], number, "{line}");
        assert_eq!((&line["attempt"], &line["level"]), (&1.into(), &"info".into()));
    }
    assert_eq!(end.next_seq, u64::try_from(lines.len()).unwrap());
    let hello = lines.iter().find(|line| line["line"] == "hello").unwrap();
    assert_eq!(hello["step"], 2);

    let template = templates.get(&alice(), &id).unwrap();
    assert_eq!((template.ext4_size_bytes, template.version), (512 << 20, Some(1)));
    assert!(template.built_at.unwrap() >= template.created_at);
    let resolved = templates.resolve(&alice(), &"env".parse().unwrap()).unwrap();
    assert_eq!(resolved.config["config"]["Env"][0], "A=1");
    assert!(std::fs::read_to_string(resolved.image).unwrap().starts_with("image of FROM"));
    // Later readers get the same, from any place.
    let (rest, _) = read_to_end(&mut templates.logs(&alice(), &id, None, 3).unwrap());
    assert_eq!(rest, lines[3..]);
    templates.stop(Duration::from_secs(10));
}

#[test]
fn a_failed_build_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let good = ready(&templates, "env", "say 1");
    let failed = ended(&templates, &submit(&templates, "env", "fail"));
    assert_eq!((failed.status, failed.ext4_size_bytes), (Status::Failed, 0));
    assert_eq!(failed.failure.unwrap().code, FailureCode::RunFailed);
    let (lines, end) = read_to_end(&mut templates.logs(&alice(), &Selector::Id(failed.id), None, 0).unwrap());
    assert_eq!(end.status, Status::Failed);
    assert_eq!(lines.last().unwrap()["line"], "ERROR: it failed");
    assert_eq!(templates.get(&alice(), &"env".parse().unwrap()).unwrap().id, good.id, "the last good one stays");
    let panicked = ended(&templates, &submit(&templates, "env", "panic"));
    assert_eq!(panicked.failure.unwrap().code, FailureCode::HostFault);
    assert_eq!(ready(&templates, "env", "say 2").version, Some(2), "and the worker goes on");
}

#[test]
fn what_is_refused_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let refused = |submission: Submission| templates.submit(&alice(), submission).unwrap_err();
    assert!(matches!(refused(submission("Bad", "")), Error::Name { .. }));
    let two = refused(Submission::new("env", "FROM ubuntu\nCOPY a b\nADD c d\n"));
    let Error::Refused { answer } = two else { panic!("{two}") };
    assert_eq!(answer.diagnostics.iter().map(|one| one.place.line).collect::<Vec<_>>(), [1, 2, 3]);
    let mismatch = Submission { base: Some("other".to_owned()), ..submission("env", "") };
    assert!(matches!(refused(mismatch), Error::BaseMismatch { .. }));
    let tiny = Submission { disk_size_bytes: Some(1), ..submission("env", "") };
    assert!(matches!(refused(tiny), Error::DiskSize { .. }));
    assert_eq!(templates.list(&alice(), 10, 0).unwrap().total, 0);
    assert!(templates.preview(&alice(), &submission("env", "say 1")).is_ok());
    assert_eq!(templates.list(&alice(), 10, 0).unwrap().total, 0, "a preview stores nothing");
    for base in ["nodeops/sandbox:debian", "docker.io/nodeops/sandbox:debian"] {
        let named = Submission { base: Some(base.to_owned()), ..submission("env", "") };
        assert!(templates.submit(&alice(), named).is_ok(), "{base}");
    }
}

#[test]
fn a_third_build_waits_and_the_same_request_is_answered_again() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let keyed = Submission { idempotency_key: Some("k".to_owned()), ..submission("env", "hang") };
    let first = templates.submit(&alice(), keyed.clone()).unwrap();
    let second = submit(&templates, "env", "hang");
    let Err(Error::TooManyActive { limit: 2, active }) = templates.submit(&alice(), submission("env", "")) else {
        panic!("the third is accepted");
    };
    assert_eq!(active, [first.template().id.clone(), second.id.clone()]);
    let again = templates.submit(&alice(), keyed).unwrap();
    assert!(matches!(&again, Submitted::Replayed(template) if template.id == first.template().id));
    let other = Submission { idempotency_key: Some("k".to_owned()), ..submission("env", "say 1") };
    assert!(matches!(templates.submit(&alice(), other), Err(Error::KeyReused)));
    for template in [first.template(), &second] {
        templates.cancel(&alice(), &Selector::Id(template.id.clone())).unwrap();
        assert_eq!(ended(&templates, template).failure.unwrap().code, FailureCode::Cancelled);
    }
    let too_late = templates.cancel(&alice(), &Selector::Id(second.id));
    assert!(matches!(too_late, Err(Error::NotActive)));
    ready(&templates, "env", "say 1");
}

#[test]
fn owners_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let template = ready(&templates, "env", "");
    let bob: Owner = "bob".parse().unwrap();
    for selector in [Selector::Id(template.id), "env".parse().unwrap(), "env@1".parse().unwrap()] {
        assert!(matches!(templates.get(&bob, &selector), Err(Error::NotFound)));
        assert!(matches!(templates.delete(&bob, &selector), Err(Error::NotFound)));
        assert!(matches!(templates.cancel(&bob, &selector), Err(Error::NotFound)));
        assert!(matches!(templates.resolve(&bob, &selector), Err(Error::NotFound)));
        assert!(matches!(templates.logs(&bob, &selector, None, 0), Err(Error::NotFound)));
    }
    assert_eq!(templates.list(&bob, 10, 0).unwrap().total, 0);
}

#[test]
fn the_same_dockerfile_is_not_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, builder) = service(dir.path());
    let first = ready(&templates, "one", "say 1");
    let second = ready(&templates, "two", "say 1");
    assert_eq!(builder.builds.load(Ordering::SeqCst), 1);
    assert_eq!(first.image_digest, second.image_digest);
    let (lines, _) = read_to_end(&mut templates.logs(&alice(), &Selector::Id(second.id), None, 0).unwrap());
    assert!(text(&lines).contains("Using the finished image"), "{}", text(&lines));
    let anew = Submission { no_cache: true, ..submission("three", "say 1") };
    ended(&templates, templates.submit(&alice(), anew).unwrap().template());
    assert_eq!(builder.builds.load(Ordering::SeqCst), 2);
    let bob: Owner = "bob".parse().unwrap();
    ended(&templates, templates.submit(&bob, submission("one", "say 1")).unwrap().template());
    assert_eq!(builder.builds.load(Ordering::SeqCst), 3, "another owner's image is not used");
    assert_eq!(templates.stats().reused, 1);
}

#[test]
fn an_image_is_that_of_the_base_it_was_built_on() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, builder) = service(dir.path());
    // The tag of the base moves between the look at it and the build, and back afterwards.
    ready(&templates, "one", "move");
    assert_eq!(builder.base.swap(0, Ordering::SeqCst), 1);
    ready(&templates, "two", "move");
    assert_eq!(builder.builds.load(Ordering::SeqCst), 2, "the image of the other base is not used");
    assert_eq!(builder.base.load(Ordering::SeqCst), 1);
    ready(&templates, "three", "move");
    assert_eq!(builder.builds.load(Ordering::SeqCst), 2, "the image of this base is there");
}

#[test]
fn a_deleted_template_leaves_nothing_and_disturbs_no_reader() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.grace = Duration::from_secs(3_600);
    let templates = Templates::open(config, Scripted::default()).unwrap();
    templates.start();
    let (one, two) = (ready(&templates, "one", "say 1"), ready(&templates, "two", "say 1"));
    let image = templates.resolve(&alice(), &"one".parse().unwrap()).unwrap().image;
    templates.delete(&alice(), &"one".parse().unwrap()).unwrap();
    assert!(matches!(templates.get(&alice(), &Selector::Id(one.id.clone())), Err(Error::NotFound)));
    assert!(matches!(templates.resolve(&alice(), &"one".parse().unwrap()), Err(Error::NotFound)));
    assert!(!dir.path().join("data/logs").join(one.id.as_str()).exists());
    templates.delete(&alice(), &Selector::Id(two.id)).unwrap();
    templates.collect().unwrap();
    assert!(image.exists(), "for an hour");

    // One that is built: its follower gets an end, its worker a new job.
    let building = wait(&templates, &submit(&templates, "env", "hang"), |now| now.status == Status::Building);
    let mut follower = templates.logs(&alice(), &Selector::Id(building.id.clone()), None, 0).unwrap();
    templates.delete(&alice(), &Selector::Id(building.id.clone())).unwrap();
    assert_eq!(read_to_end(&mut follower).1.failure.unwrap().message, "the template was deleted");
    ready(&templates, "env", "say 2");
    templates.stop(Duration::from_secs(10));
    assert_eq!(std::fs::read_dir(dir.path().join("data/images/tmp")).unwrap().count(), 0);
}

#[test]
fn a_log_that_can_not_be_removed_keeps_no_template() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    let one = ready(&templates, "one", "say 1");
    let log = dir.path().join("data/logs").join(one.id.as_str());
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::write(&log, "no directory").unwrap();
    assert_eq!(templates.delete(&alice(), &Selector::Id(one.id.clone())).unwrap(), one.id);
    assert!(matches!(templates.get(&alice(), &Selector::Id(one.id)), Err(Error::NotFound)));
}

/// Something is in the place of its log, and the build can't begin.
#[test]
fn a_build_without_a_log_is_not_begun_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    (config.lease, config.interruptions_max) = (Duration::from_secs(1), 1);
    let templates = Templates::open(config, Scripted::default()).unwrap();
    let template = submit(&templates, "env", "say 1");
    std::fs::write(dir.path().join("data/logs").join(template.id.as_str()), "no directory").unwrap();
    templates.start();
    let ended = ended(&templates, &template);
    assert_eq!((ended.attempt, ended.failure.unwrap().code), (3, FailureCode::HostFault));
    ready(&templates, "env", "say 2");
    templates.stop(Duration::from_secs(10));
}

#[test]
fn a_build_without_a_log_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    (config.lease, config.interruptions_max) = (Duration::from_millis(300), u32::MAX);
    let templates = Templates::open(config, Scripted::default()).unwrap();
    let template = submit(&templates, "env", "say 1");
    std::fs::write(dir.path().join("data/logs").join(template.id.as_str()), "no directory").unwrap();
    templates.start();
    wait(&templates, &template, |now| now.status == Status::Building);
    templates.cancel(&alice(), &Selector::Id(template.id.clone())).unwrap();
    assert_eq!(ended(&templates, &template).failure.unwrap().code, FailureCode::Cancelled);
    templates.stop(Duration::from_secs(10));
}

/// The database is held by somebody else while a worker asks for a job, and the service stops meanwhile.
#[test]
fn a_job_that_comes_while_the_service_stops_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let templates = Templates::open(config(dir.path()), Scripted::default()).unwrap();
    let template = submit(&templates, "env", "hang");
    let other = rusqlite::Connection::open(dir.path().join("data/templates.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    templates.start();
    std::thread::sleep(Duration::from_millis(300));
    let stopped = std::thread::spawn({
        let templates = templates.clone();
        move || templates.stop(Duration::ZERO)
    });
    std::thread::sleep(Duration::from_millis(300));
    other.execute_batch("COMMIT").unwrap();
    for _ in 0..1_000 {
        if stopped.is_finished() {
            let now = templates.get(&alice(), &Selector::Id(template.id)).unwrap();
            assert_eq!((now.status, now.attempt), (Status::Pending, 1));
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the service does not stop");
}

#[test]
fn images_without_a_template_are_collected() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.grace = Duration::ZERO;
    let templates = Templates::open(config, Scripted::default()).unwrap();
    templates.start();
    let one = ready(&templates, "one", "say 1");
    let image = templates.resolve(&alice(), &"one".parse().unwrap()).unwrap().image;
    templates.collect().unwrap();
    assert!(image.exists());
    templates.delete(&alice(), &Selector::Id(one.id)).unwrap();
    templates.collect().unwrap();
    assert!(!image.exists());
    assert_eq!(templates.counts().unwrap().images, 0);
    ready(&templates, "one", "say 1");
    assert!(image.exists(), "and made again when it is wanted again");
}

#[test]
fn a_build_that_takes_too_long_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.build_timeout = Duration::from_millis(300);
    let templates = Templates::open(config, Scripted::default()).unwrap();
    templates.start();
    let ended = ended(&templates, &submit(&templates, "env", "hang"));
    assert_eq!(ended.failure.unwrap().code, FailureCode::BuildTimeout);
}

#[test]
fn a_name_switches_at_once_under_readers() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = service(dir.path());
    ready(&templates, "env", "say 0");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut looks) = (1, 0);
            while !done.load(Ordering::SeqCst) {
                let resolved = templates.resolve(&alice(), &"env".parse().unwrap()).unwrap();
                assert!(resolved.image.exists());
                let version = resolved.template.version.unwrap();
                assert!(version >= last, "{version} after {last}");
                (last, looks) = (version, looks + 1);
            }
            looks
        });
        for number in 1..20 {
            ready(&templates, "env", &format!("say {number}"));
        }
        done.store(true, Ordering::SeqCst);
        assert!(reader.join().unwrap() > 19);
    });
    assert!(std::fs::read_dir(dir.path().join("data/logs")).unwrap().count() == 20);
}

#[test]
fn sizes_are_fixed_or_follow_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.disk_headroom_bytes = Some(1_000);
    let templates = Templates::open(config, Scripted::default()).unwrap();
    templates.start();
    assert_eq!(ready(&templates, "env", "say 1").ext4_size_bytes, 1_001);
    let exact = Submission { disk_size_bytes: Some(64 << 20), ..submission("env", "say 1") };
    let exact = ended(&templates, templates.submit(&alice(), exact).unwrap().template());
    assert_eq!(exact.ext4_size_bytes, 64 << 20);
    assert!(templates.check_health().is_ok());
}
