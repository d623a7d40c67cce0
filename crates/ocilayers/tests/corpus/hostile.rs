//! Every case of `hostile` is taken or refused as this table says, in bounded time and memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fstree::{Tree, dump};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::shared::{cases, corpus, differs, tree, whole};

/// What becomes of a case.
enum Verdict {
    /// A tree of that many names, with these among them (in the form of `expect.json`).
    Taken(usize, &'static [(&'static str, &'static str)]),
    /// An error with that in its message.
    Refused(&'static str),
}

use Verdict::{Refused, Taken};

const VERDICTS: [(&str, Verdict); 67] = [
    ("abs-hardlink", Refused("the target of the hard link, 'etc/shadow', does not exist")),
    ("artifact-config", Refused("not a container image but an artifact of type 'application/vnd.cncf.helm")),
    ("bad-checksum", Refused("the checksum of the header is wrong")),
    ("blob-truncated", Refused("23368 bytes was announced, 11684 bytes is there")),
    ("case-dups", Taken(3, &[("A", "f:1"), ("a", "f:2")])),
    ("deep-100k", Refused("at most 65536 are allowed")),
    ("device-huge", Refused("device number 2147483647:2147483647 is out of range")),
    ("digest-algo", Refused("only sha256 is read here")),
    ("digest-short", Refused("Invalid digest length")),
    ("dir-with-size", Refused("512 bytes of data, which its kind can't have")),
    ("dotdot-hardlink", Refused("'..' component")),
    ("encrypted-layer", Refused("it is encrypted")),
    ("foreign-layer", Refused("has to be fetched from somewhere else")),
    ("gzip-bad-crc", Refused("checksum")),
    ("gzip-bad-isize", Refused("checksum")),
    ("gzip-trailing-garbage", Refused("not gzip follows the gzip data")),
    ("gzip-trailing-zeros", Taken(2, &[("a", "f:*")])),
    ("hardlink-dir", Refused("hard link to a directory")),
    ("hardlink-into-own-child", Refused("hard link to itself")),
    ("hardlink-through-symlink", Refused("does not exist")),
    ("hardlink-to-root", Refused("hard link to a directory")),
    ("hardlink-with-data", Refused("the checksum of the header is wrong")),
    ("hash-collide-names", Taken(20_001, &[("x0000000", "f:"), ("x0019999", "f:")])),
    ("hdr-size-garbage", Refused("the field 'size' is not a number")),
    ("ids-huge", Refused("the field 'uid' is not a number that fits")),
    ("layer-count-mismatch", Refused("the manifest names 1 layers, the config 2")),
    ("many-hardlinks", Taken(70_002, &[("h069999", "h:f")])),
    ("many-subdirs", Taken(70_002, &[("d/069999", "d:755")])),
    ("media-lies", Taken(2, &[("a", "f:*")])),
    ("media-type-missing", Refused("missing field `mediaType`")),
    ("mtime-extremes", Refused("the field 'mtime' is not a number that fits")),
    ("nested-index-loop", Refused("indexes inside each other is over the limit of 4")),
    ("nul-in-pax-path", Refused("a value that holds NUL")),
    ("path-64k", Taken(321, &[])),
    ("pax-32MiB", Refused("more bytes of extended header than the 1048576")),
    ("pax-len-overflow", Refused("a length that is not a number")),
    ("pax-len-signed", Refused("a length that is not a number")),
    ("pax-malformed-len", Refused("a length beyond the header")),
    ("pax-neg-size", Refused("the field 'size' is not a number")),
    ("pax-nonzero-hdr-size", Taken(3, &[("after", "f:*"), ("outer", "f:*")])),
    ("pax-size-on-dir", Refused("1024 bytes of data, which its kind can't have")),
    ("pax-then-gnu-long", Taken(3, &[("from-pax", "f:"), ("from-pax2", "f:")])),
    ("pax-two-paths", Taken(2, &[("second", "f:")])),
    ("pax-x-x", Taken(2, &[("first", "f::id=5,0")])),
    ("root-is-file", Refused("the root is a directory and stays one")),
    ("same-layer-twice", Taken(2, &[("a", "f:1")])),
    ("size-lie", Refused("5 bytes was announced, 86 bytes is there")),
    ("slash-only-names", Refused("it has no name")),
    ("sparse-8EiB", Refused("more bytes than the 1099511627776")),
    ("sparse-beyond", Refused("pass the end")),
    ("sparse-old-ext-bomb", Refused("more sparse runs than the 1000000")),
    ("sparse-overlap", Refused("runs that overlap")),
    ("sym-escape-2layers", Refused("'e' on the way is a symbolic link to nothing")),
    ("sym-escape-write", Refused("'e' on the way is a symbolic link to nothing")),
    ("sym-root-slash", Refused("the root is a directory and stays one")),
    ("symlink-expansion-bomb", Refused("'l0' on the way is a symbolic link to nothing")),
    ("symlink-loop-parent", Refused("too many symbolic links on the way")),
    ("symlink-with-size", Refused("512 bytes of data, which its kind can't have")),
    ("truncated-data", Refused("ends in the middle of it")),
    ("two-archives", Taken(2, &[("a", "f:*")])),
    ("wh-under-replaced-file", Taken(2, &[("d", "f:*")])),
    ("whiteout-as-dir-component", Refused("a whiteout can't be a directory")),
    ("whiteout-slashes", Refused("'..' component")),
    ("xattr-bad-ns", Taken(2, &[("a", "f:*:xa={}")])),
    ("xattr-trusted", Taken(2, &[("a", "f:*:xa={}")])),
    ("zstd-multi-frame", Taken(2, &[("a", "f:*")])),
    ("zstd-window-2G", Refused("requires too much memory")),
];

/// The longest that one case may take, also in a build without optimisation on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(20);
/// The address space that all cases together have: they ask for gigabytes.
const MEMORY_MAX: u64 = 640 << 20;
/// Set in the process that has only so much.
const CAPPED: &str = "DRYDOCK_HOSTILE_CAPPED";

#[test]
fn every_case_is_taken_or_refused_as_listed() {
    let Some(corpus) = corpus("hostile") else { return };
    if std::env::var_os(CAPPED).is_none() {
        in_a_process_with_little_memory();
        return;
    }
    let cap = Rlimit { current: Some(MEMORY_MAX), maximum: Some(MEMORY_MAX) };
    setrlimit(Resource::As, cap).unwrap();
    let mut verdicts: BTreeMap<&str, &Verdict> = VERDICTS.iter().map(|(name, verdict)| (*name, verdict)).collect();
    let mut wrong = Vec::new();
    for (name, dir) in cases(&corpus) {
        match verdicts.remove(name.as_str()) {
            Some(verdict) => wrong.extend(check(&dir, verdict).map(|what| format!("{name}: {what}"))),
            None => wrong.push(format!("{name}: it is not listed here; decide what becomes of it")),
        }
    }
    wrong.extend(verdicts.keys().map(|name| format!("{name}: it is listed, and not in the corpus")));
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs the same test in a process of its own, in which more memory than the cap can't be had: taking it would abort.
fn in_a_process_with_little_memory() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "hostile::every_case_is_taken_or_refused_as_listed", "--nocapture"]);
    // Else every thread reserves an arena of 64 MiB of addresses.
    let output = child.env(CAPPED, "1").env("MALLOC_ARENA_MAX", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "the test has run: {said}");
}

fn check(dir: &Path, verdict: &Verdict) -> Option<String> {
    let start = Instant::now();
    let result = tree(dir, 2);
    let taken = start.elapsed();
    if taken > TIME_MAX {
        return Some(format!("it took {taken:?}"));
    }
    match (result, verdict) {
        (Ok(tree), Taken(names, expected)) => taken_as_listed(&tree, *names, expected),
        (Err(error), Refused(part)) => refused_as_listed(&whole(&error), part),
        (Ok(tree), Refused(_)) => Some(format!("is taken:\n{}", dump(&tree))),
        (Err(error), Taken(..)) => Some(format!("is refused: {}", whole(&error))),
    }
}

fn taken_as_listed(tree: &Tree, names: usize, expected: &[(&str, &str)]) -> Option<String> {
    let found = dump(tree).lines().count();
    if found != names {
        return Some(format!("there are {found} names, not {names}"));
    }
    let differ =
        |(path, text): &(&str, &str)| Some(format!("{path}: {}", differs(tree, path.as_bytes(), text.as_bytes())?));
    expected.iter().find_map(differ)
}

fn refused_as_listed(message: &str, part: &str) -> Option<String> {
    if message.len() > 1_000 {
        return Some(format!("a message of {} bytes", message.len()));
    }
    (!message.contains(part)).then(|| format!("refused with '{message}'"))
}
