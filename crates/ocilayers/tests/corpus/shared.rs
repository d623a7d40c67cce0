//! Where the corpora are, and how a case is read: through the same calls as a build makes.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use fstree::{Content, Kind, NodeId, Tree};
use ocilayers::{Error, Image, ImageRef, Limits, Store, flatten};

/// The directory of the corpus `name`; `None`, after saying so, where the shared corpora are not to be had.
pub(crate) fn corpus(name: &str) -> Option<PathBuf> {
    match std::env::var_os("DRYDOCK_SHARED") {
        Some(shared) => Some(Path::new(&shared).join("corpora/layers").join(name)),
        None if std::env::var_os("DRYDOCK_REQUIRE_ALL").is_some_and(|value| value == "1") => {
            panic!("DRYDOCK_SHARED is not set, and DRYDOCK_REQUIRE_ALL=1 lets no test be skipped")
        }
        None => {
            eprintln!("SKIPPED: the corpus of {name} images: DRYDOCK_SHARED is not set");
            None
        }
    }
}

/// The cases of a corpus by name.
pub(crate) fn cases(corpus: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut cases: Vec<_> = entries.map(|entry| entry.unwrap()).map(|entry| (name(&entry), entry.path())).collect();
    cases.sort();
    cases
}

/// The tree of the image in the layout `dir`, made by `threads` threads with an empty store.
pub(crate) fn tree(dir: &Path, threads: usize) -> Result<Tree, Error> {
    let limits = Limits::default();
    let scratch = tempfile::tempdir().unwrap();
    let image = Image::open(&ImageRef::Layout { dir: dir.to_owned(), tag: None }, &limits)?;
    let store = Store::open(scratch.path(), limits)?;
    flatten(&store.layers(&image, Some(threads))?, &limits)
}

/// An error with all its causes.
pub(crate) fn whole(error: &Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The node of exactly that name: no link is followed.
pub(crate) fn node_at(tree: &Tree, path: &[u8]) -> Option<NodeId> {
    let names = path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.into_iter().try_fold(Tree::ROOT, |directory, name| tree.lookup(directory, name))
}

/// The bytes of a file, holes as zeros.
pub(crate) fn bytes(tree: &Tree, content: &Content) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(content.size_bytes()).unwrap()];
    for segment in content.segments() {
        let start = usize::try_from(segment.file_offset).unwrap();
        let end = start + usize::try_from(segment.len_bytes).unwrap();
        tree.sources.get(segment.source).read_exact_at(&mut bytes[start..end], segment.source_offset).unwrap();
    }
    bytes
}

/// Where the node at `path` differs from `expected`, a text of the form that `expect.json` uses:
/// `d[:mode[:uid]]`, `f:content`, `l:target`, `h:other name`, `p`, `c:major,minor`, `b:major,minor`, and after them
/// `:mo=mode`, `:id=uid,gid`, `:mt=seconds`, `:xa={attributes}`.
pub(crate) fn differs(tree: &Tree, path: &[u8], expected: &[u8]) -> Option<String> {
    let Some(id) = node_at(tree, path) else { return Some("missing".to_owned()) };
    let node = tree.node(id);
    let (kind, options) = split_options(expected);
    let (letter, rest) = kind.split_first().unwrap();
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let right = match (letter, &node.kind) {
        (b'h', _) => node_at(tree, rest) == Some(id),
        (b'd', Kind::Directory(_)) => is_directory(tree, id, rest),
        (b'f', Kind::File(content)) => rest == b"*" || bytes(tree, content) == rest,
        (b'l', Kind::Symlink(target)) => **target == *rest,
        (b'p', Kind::Fifo) => true,
        (b'c', Kind::CharDevice(number)) | (b'b', Kind::BlockDevice(number)) => {
            format!("{},{}", number.major(), number.minor()).as_bytes() == rest
        }
        _ => false,
    };
    if !right {
        return Some(format!("is {:?}, not {}", node.kind, expected[..expected.len().min(200)].escape_ascii()));
    }
    options.iter().find_map(|option| option_differs(tree, id, option))
}

/// Cuts `:mo=`, `:id=`, `:mt=` and `:xa=` off the end.
fn split_options(expected: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let starts: Vec<usize> = (1..expected.len())
        .filter(|&at| [&b":mo="[..], b":id=", b":mt=", b":xa="].iter().any(|key| expected[at..].starts_with(key)))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([expected.len()]);
    let options = starts.iter().zip(ends).map(|(&start, end)| &expected[start + 1..end]).collect();
    (&expected[..starts.first().copied().unwrap_or(expected.len())], options)
}

fn is_directory(tree: &Tree, id: NodeId, mode_and_uid: &[u8]) -> bool {
    let metadata = &tree.node(id).metadata;
    let mut parts = std::str::from_utf8(mode_and_uid).unwrap().split(':');
    let mode = parts.next().filter(|mode| !mode.is_empty()).map(|mode| u16::from_str_radix(mode, 8).unwrap());
    let uid = parts.next().map(|uid| uid.parse::<u32>().unwrap());
    mode.is_none_or(|mode| mode == metadata.mode) && uid.is_none_or(|uid| uid == metadata.uid)
}

fn option_differs(tree: &Tree, id: NodeId, option: &[u8]) -> Option<String> {
    let metadata = &tree.node(id).metadata;
    let option = std::str::from_utf8(option).unwrap();
    let (key, value) = option.split_once('=').unwrap();
    let found = match key {
        "mo" => format!("{:o}", metadata.mode),
        "id" => format!("{},{}", metadata.uid, metadata.gid),
        "mt" => {
            let nanoseconds =
                i128::from(metadata.mtime.seconds) * 1_000_000_000 + i128::from(metadata.mtime.nanoseconds);
            return (nanoseconds != decimal_nanoseconds(value))
                .then(|| format!("mtime is {nanoseconds} ns, not {value}"));
        }
        _ => {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
            let found = metadata.xattrs.iter().map(|(key, value)| (name(key), hex(value).into())).collect();
            let expected: serde_json::Value = serde_json::from_str(value).unwrap();
            let found = serde_json::Value::Object(found);
            return (found != expected).then(|| format!("attributes are {found}, not {expected}"));
        }
    };
    (found != value).then(|| format!("{key} is {found}, not {value}"))
}

/// `-5.5` as nanoseconds.
fn decimal_nanoseconds(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    sign * format!("{whole}{fraction:0<9}").parse::<i128>().unwrap()
}
