//! Images in chunks among the objects: shared by what is alike, kept as long as somebody needs them, and gone afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use imagechunks::{Cache, FetchOptions, Manifest, Source};
use templates::store::{Inserted, Postgres, Store};
use templates::{Error, Owner, Selector, Template, Templates};

use crate::builder::{alice, ready};
use crate::conformance::{LIMITS, LONG, image, new};
use crate::shared::{Hosts, files, until};

/// What an attempt put.
fn origin(template: &Template) -> String {
    format!("{}.{}", template.id, template.attempt)
}

/// The pack that an attempt put.
fn pack_of(hosts: &Hosts, template: &Template) -> String {
    let mut packs = files(&hosts.objects().join("packs"));
    packs.retain(|pack| pack.starts_with(&origin(template)));
    assert_eq!(packs.len(), 1);
    packs.remove(0)
}

fn len(path: PathBuf) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn resolved(host: &Templates, name: &str) -> Result<Vec<u8>, Error> {
    host.resolve(&alice(), &name.parse().unwrap()).map(|resolved| fs::read(resolved.image).unwrap())
}

/// The packs of a template, as a sandbox host gets them.
struct Remote<'a>(&'a Templates, Selector);

impl Source for Remote<'_> {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.0.pack_range(&alice(), &self.1, pack, range).map_err(io::Error::other)
    }
}

#[test]
fn what_images_share_is_kept_and_fetched_once() {
    let Some(hosts) = Hosts::new() else { return };
    let (api, builder) = (hosts.host("api", 0), hosts.host("builder", 1));
    let first = ready(&api, "first", "fill 1;fill 2;fill 3;fill 4");
    let second = ready(&api, "second", "fill 1;fill 2;fill 3;fill 5");
    let packs = hosts.objects().join("packs");
    assert_eq!(files(&packs), [pack_of(&hosts, &first), pack_of(&hosts, &second)]);
    let [whole, rest] = [&first, &second].map(|template| len(packs.join(pack_of(&hosts, template))));
    assert!(whole > 1 << 20 && rest < whole / 3, "{whole} {rest}");
    // Built again: nothing is new, so there is no pack.
    let third = builder.submit(
        &alice(),
        templates::Submission { no_cache: true, ..crate::builder::submission("first", "fill 1;fill 2;fill 3;fill 4") },
    );
    let third = crate::builder::ended(&api, third.unwrap().template());
    assert_eq!((&third.image_digest, files(&packs).len()), (&first.image_digest, 2));

    for name in ["first", "second"] {
        assert_eq!(resolved(&api, name).unwrap(), resolved(&builder, name).unwrap());
    }
    // The first image goes, and what the second has of it stays.
    for template in [&first, &third] {
        api.delete(&alice(), &Selector::Id(template.id.clone())).unwrap();
    }
    let manifests = hosts.objects().join("manifests");
    assert!(until(|| files(&manifests).len() == 1), "{:?}", files(&manifests));
    api.collect().unwrap();
    assert_eq!(files(&packs).len(), 2, "the second needs both");
    let late = hosts.host("late", 0);
    assert_eq!(resolved(&late, "second").unwrap(), resolved(&builder, "second").unwrap());
    api.delete(&alice(), &"second".parse().unwrap()).unwrap();
    assert!(until(|| files(&packs).is_empty() && files(&manifests).is_empty()));
    assert_eq!(files(&hosts.objects().join("tmp")), [""; 0]);
    for table in ["manifests", "packs", "pack_refs"] {
        assert_eq!(hosts.count(table), "0", "{table}");
    }
}

#[test]
fn a_host_keeps_as_many_copies_as_it_is_told_and_gets_others_again() {
    let Some(hosts) = Hosts::new() else { return };
    let _builder = hosts.host("builder", 1);
    let reader = hosts.host_with("reader", 0, LONG, |config| config.image_copies_bytes = 1);
    let copies = || files(&hosts.data("reader/images")).into_iter().filter(|name| name != "tmp").collect::<Vec<_>>();
    let [first, second] = ["first", "second"].map(|name| ready(&reader, name, &format!("fill 1;say {name}")));
    let digests = [first, second].map(|template| template.image_digest.unwrap());
    let content = resolved(&reader, "first").unwrap();
    let path = hosts.data("reader/images").join(format!("{}.ext4", digests[0]));
    reader.collect().unwrap();
    assert_eq!(copies(), [format!("{}.ext4", digests[0])], "it was asked for just now");
    // As if that were long ago.
    fs::File::options().append(true).open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    resolved(&reader, "second").unwrap();
    assert_eq!(copies(), [format!("{}.ext4", digests[1])]);
    assert_eq!(resolved(&reader, "first").unwrap(), content);
}

#[test]
fn who_asks_for_an_image_that_is_fetched_waits_for_that_one() {
    let Some(hosts) = Hosts::new() else { return };
    let builder = hosts.host("builder", 1);
    ready(&builder, "env", "fill 1;fill 2;fill 3;fill 4");
    let reader = hosts.host("reader", 0);
    let all = Barrier::new(8);
    let ask = || {
        all.wait();
        // Held open: a file that another one replaced keeps its number.
        fs::File::open(reader.resolve(&alice(), &"env".parse().unwrap()).unwrap().image).unwrap()
    };
    let files: Vec<fs::File> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let numbers: BTreeSet<u64> = files.iter().map(|file| file.metadata().unwrap().ino()).collect();
    assert_eq!(numbers.len(), 1, "each fetched a copy of his own");
}

#[test]
fn a_sandbox_host_gets_its_own_packs_alone() {
    let Some(hosts) = Hosts::new() else { return };
    let host = hosts.host("host", 1);
    let mine = ready(&host, "mine", "fill 1;fill 2");
    let bob: Owner = "bob".parse().unwrap();
    let theirs = host.submit(&bob, crate::builder::submission("theirs", "fill 1;fill 3")).unwrap().template().clone();
    let theirs = crate::builder::ended(&host, &theirs);
    let packs = hosts.objects().join("packs");
    let [my_pack, their_pack] = [&mine, &theirs].map(|template| len(packs.join(pack_of(&hosts, template))));
    assert!(their_pack * 10 > my_pack * 9, "nothing is shared between owners");

    let selector: Selector = "mine".parse().unwrap();
    let manifest = Manifest::decode(&host.manifest(&alice(), &selector).unwrap()).unwrap();
    assert_eq!(Some(manifest.image_digest().to_string()), mine.image_digest);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("image");
    let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
    let cancel = AtomicBool::new(false);
    let options = FetchOptions { threads: 2, cancel: &cancel, progress: &|_| (), complete: &|| Ok(()) };
    imagechunks::fetch(&manifest, &Remote(&host, selector.clone()), &cache, &out, &options).unwrap();
    assert_eq!(fs::read(&out).unwrap(), resolved(&host, "mine").unwrap());

    assert!(matches!(host.manifest(&bob, &selector), Err(Error::NotFound)));
    let read = |owner: &Owner, pack: &str, range| host.pack_range(owner, &selector, pack, range);
    assert_eq!(read(&alice(), &pack_of(&hosts, &mine), 0..10).unwrap().len(), 10);
    assert!(matches!(read(&alice(), &pack_of(&hosts, &theirs), 0..10), Err(Error::NotFound)));
    assert!(matches!(read(&bob, &pack_of(&hosts, &mine), 0..10), Err(Error::NotFound)));
    assert!(matches!(read(&alice(), "../manifests", 0..10), Err(Error::NotFound)));
    assert!(matches!(read(&alice(), &pack_of(&hosts, &mine), 0..1 << 40), Err(Error::PackRange { .. })));
    assert!(matches!(
        read(&alice(), &pack_of(&hosts, &mine), Range { start: 10, end: 9 }),
        Err(Error::PackRange { .. })
    ));
    assert!(read(&alice(), &pack_of(&hosts, &mine), my_pack..my_pack + 1).is_err(), "beyond its end");
}

/// Whatever a host that is killed between two steps leaves is collected, and nothing else.
#[test]
fn what_a_killed_host_left_goes_when_its_attempt_can_not_end() {
    let Some(hosts) = Hosts::new() else { return };
    let api = hosts.host("api", 0);
    let template = crate::builder::submit(&api, "env", "say 1");
    let dead = Postgres::open(&hosts.address).unwrap();
    assert_eq!(dead.claim("dead", Duration::from_secs(2)).unwrap().unwrap().template.id, template.id);
    let (id, digest) = (&template.id, "0".repeat(64));
    let put = |name: String| {
        let path = hosts.objects().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "left").unwrap();
        path
    };
    // Killed after everything was put, and before the template was ready.
    let left = [put(format!("packs/{id}.1.A")), put(format!("manifests/{digest}/{id}.1"))];
    hosts.sql(&format!(
        "INSERT INTO packs VALUES ('{id}.1.A'); INSERT INTO manifests VALUES ('{id}', 1, '{digest}', '', 'alice');
         INSERT INTO pack_refs VALUES ('{id}', 1, '{id}.1.A')"
    ));
    // A collector that was killed before the object was removed, and one killed after that.
    hosts.sql("INSERT INTO packs VALUES ('tpl_01ARZ3NDEKTSV4RRFFQ0000001.1.A', true), ('gone.1.A', true)");
    let condemned = put("packs/tpl_01ARZ3NDEKTSV4RRFFQ0000001.1.A".to_owned());
    // A host that put it after its rows were gone.
    let late = put("packs/tpl_01ARZ3NDEKTSV4RRFFQ0000002.7.A".to_owned());
    api.collect().unwrap();
    assert!(left.iter().all(|path| path.exists()), "the attempt may still end");
    assert!(!condemned.exists() && !late.exists());
    assert_eq!(hosts.count("packs"), "1");
    // The attempt is over.
    let _builder = hosts.host("builder", 1);
    let template = crate::builder::ended(&api, &template);
    assert_eq!(template.attempt, 2);
    assert!(until(|| left.iter().all(|path| !path.exists())));
    assert!(until(|| hosts.count("packs") == "1"));
    let name = format!("{}.ext4", template.image_digest.unwrap());
    assert_eq!(resolved(&api, "env").unwrap(), fs::read(hosts.data("builder/images").join(name)).unwrap());
}

#[test]
fn chunks_of_a_pack_that_is_going_are_packed_anew() {
    let Some(hosts) = Hosts::new() else { return };
    let host = hosts.host_that_collects("host", 1, LONG);
    let first = ready(&host, "first", "fill 1;fill 2");
    hosts.sql("UPDATE packs SET condemned = true");
    let second = ready(&host, "second", "fill 1;fill 2;fill 3");
    let packs = hosts.objects().join("packs");
    assert!(len(packs.join(pack_of(&hosts, &second))) > len(packs.join(pack_of(&hosts, &first))));
    fs::remove_file(packs.join(pack_of(&hosts, &first))).unwrap();
    assert_eq!(
        resolved(&hosts.host_that_collects("other", 0, LONG), "second").unwrap(),
        resolved(&host, "second").unwrap()
    );
}

/// The store lies: the same names, other bytes.
#[test]
fn wrong_bytes_make_no_image() {
    let Some(hosts) = Hosts::new() else { return };
    let host = hosts.host("host", 1);
    let template = ready(&host, "env", "fill 1");
    let pack = hosts.objects().join("packs").join(pack_of(&hosts, &template));
    let manifests = hosts.objects().join("manifests").join(template.image_digest.as_ref().unwrap());
    let manifest = manifests.join(origin(&template));
    let other = hosts.host("other", 0);
    for path in [pack, manifest] {
        let right = fs::read(&path).unwrap();
        let mut wrong = right.clone();
        wrong[right.len() / 2] ^= 1;
        fs::write(&path, &wrong).unwrap();
        assert!(matches!(resolved(&other, "env"), Err(Error::ImageGone { .. })), "{}", path.display());
        assert_eq!(
            (files(&hosts.data("other/images")), files(&hosts.data("other/images/tmp"))),
            (vec!["tmp".to_owned()], vec![])
        );
        // A build that looks for chunks to share is not stopped by it.
        let number = usize::from(path.parent() == Some(&*manifests));
        ready(&host, &format!("again{number}"), &format!("fill 1;say {number}"));
        fs::write(&path, &right).unwrap();
    }
    assert_eq!(resolved(&other, "env").unwrap(), resolved(&host, "env").unwrap());
}

#[test]
fn images_that_were_put_whole_are_still_used() {
    let Some(hosts) = Hosts::new() else { return };
    let store = Postgres::open(&hosts.address).unwrap();
    let submission = new(1, "alice", "env");
    assert!(matches!(store.insert(&submission, &LIMITS).unwrap(), Inserted::Created(_)));
    store.claim("before", LONG).unwrap().unwrap();
    let content = b"an image of the version before";
    let digest: String = imagechunks::Digest::of(content).to_string();
    let whole = hosts.objects().join("images").join(&digest).join(format!("{}.1", submission.id));
    fs::create_dir_all(whole.parent().unwrap()).unwrap();
    fs::write(&whole, content).unwrap();
    assert!(store.finish(&submission.id, 1, &image(&digest)).unwrap());
    let host = hosts.host("host", 0);
    assert_eq!(resolved(&host, "env").unwrap(), content);
    let refused = host.manifest(&alice(), &"env".parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("no_cache"), "{refused}");
    host.collect().unwrap();
    assert!(whole.exists());
    host.delete(&alice(), &"env".parse().unwrap()).unwrap();
    assert!(until(|| !Path::exists(&whole)));
}

/// Results of steps that hosts share: what was used least recently goes when they are too much, and what nobody used for a month.
#[test]
fn results_of_steps_are_bounded_in_bytes_and_in_age() {
    let Some(hosts) = Hosts::new() else { return };
    let host = hosts.host_with("host", 0, LONG, |config| config.shared_cache_bytes = 250);
    let layers = hosts.objects().join("layers");
    fs::create_dir_all(&layers).unwrap();
    let name = |number: u32| format!("{number:064x}");
    let day = 24 * 3_600_000_i64;
    // Used so many days ago; the last is a layer without a row.
    for (number, days) in [(1, 40), (2, 3), (3, 1), (4, 2)] {
        let (name, ago) = (name(number), days * day);
        hosts.sql(&format!(
            "INSERT INTO cached_layers (name, bytes, used_at) VALUES ('{name}', 100, drydock_now() - {ago});
             INSERT INTO cached_steps (key, entry, made_at, used_at) VALUES ('{number}', '', 0, drydock_now() - {ago})"
        ));
        fs::write(layers.join(name), "layer").unwrap();
    }
    fs::write(layers.join(name(5)), "layer").unwrap();
    host.collect().unwrap();
    assert_eq!(files(&layers), [name(3), name(4)]);
    assert_eq!((hosts.count("cached_layers"), hosts.count("cached_steps")), ("2".to_owned(), "3".to_owned()));
    // One that is used stays, and the other goes.
    hosts.sql(&format!("UPDATE cached_layers SET used_at = drydock_now() WHERE name = '{}'", name(4)));
    let smaller = hosts.host_with("smaller", 0, LONG, |config| config.shared_cache_bytes = 150);
    smaller.collect().unwrap();
    assert_eq!(files(&layers), [name(4)]);
}

#[test]
fn chunks_need_objects() {
    let dir = tempfile::tempdir().unwrap();
    let (templates, _) = crate::builder::service(dir.path());
    ready(&templates, "env", "say 1");
    let refused = templates.manifest(&alice(), &"env".parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("`objects`"), "{refused}");
}
