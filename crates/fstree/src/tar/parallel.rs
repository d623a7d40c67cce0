//! One archive read from several places at once, with the answer of reading it from its start.
//!
//! ```text
//! ├── reader 0 ──────────────▶│            arrives at an entry of reader 1, whose additions from there on it takes over
//!                  guess ─▶├──┼── reader 1 ────────────▶│
//!                                               guess ─▶├──┼── reader 2 ──▶
//! ```
//!
//! What is read from an entry on depends on nothing before it, unless an extended header holds for all files. So where a reader
//! arrives at a place at which the next one has begun an entry, the rest is what it would read itself. A guess that looks like a
//! header and is none, as in an archive inside the archive, is never arrived at: it costs time and changes nothing. Whatever is
//! out of the ordinary (an error, a limit) is read again from the start by one reader, so that errors are the same, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tar::Header;

use super::header::Fields;
use super::input::Random;
use super::read::{Reader, read};
use super::{BLOCK, TarError};
use crate::content::{ReadAt, SourceId, Sources};
use crate::diff::{Addition, Diff};
use crate::limits::Limits;

/// Bytes of an archive that are worth a reader of their own.
const PIECE_BYTES: u64 = 16 << 20;
/// Pieces for each thread: entries are not spread evenly.
const PIECES_PER_THREAD: u64 = 4;
/// How far a header is looked for: beyond it lies a large file, and one reader steps over that faster.
const SEARCH_BYTES: u64 = 4 << 20;
/// Bytes that are searched at a time.
const WINDOW: u64 = 64 << 10;

/// As [`read`], with several threads. The answer and the errors are the same at any number of them.
///
/// # Errors
/// As [`read`].
pub fn read_parallel(source: &Arc<dyn ReadAt>, len: u64, limits: &Limits, threads: usize) -> Result<Diff, TarError> {
    read_pieces(source, len, limits, threads, PIECE_BYTES)
}

fn read_pieces(
    source: &Arc<dyn ReadAt>,
    len: u64,
    limits: &Limits,
    threads: usize,
    piece_bytes: u64,
) -> Result<Diff, TarError> {
    let threads = u64::try_from(threads).expect("usize fits in u64").min(64);
    let pieces = (len / piece_bytes).min(threads * PIECES_PER_THREAD);
    if threads < 2 || pieces < 2 {
        return read(Arc::clone(source), len, limits);
    }
    let mut sources = Sources::default();
    let id = sources.add(Arc::clone(source));
    let archive = Archive { source, len, id, limits: share(limits, pieces) };
    let starts = archive.starts(pieces, threads);
    match join(archive.chains(&starts, threads)) {
        Some(additions) => Ok(Diff { sources, additions, ..Diff::default() }),
        None => read(Arc::clone(source), len, limits),
    }
}

/// What each reader may take, so that all together take no more than one would.
fn share(limits: &Limits, readers: u64) -> Limits {
    Limits {
        nodes: limits.nodes / u32::try_from(readers).expect("a few hundred at most"),
        metadata_bytes: limits.metadata_bytes / readers,
        ..*limits
    }
}

struct Archive<'a> {
    source: &'a Arc<dyn ReadAt>,
    len: u64,
    id: SourceId,
    limits: Limits,
}

/// What one reader has read.
struct Chain {
    reader: Reader<Random>,
    additions: Vec<Addition>,
    /// Where the entry of each addition begins.
    places: Vec<u64>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// At the beginning of the next piece, or nowhere in particular.
    Open,
    /// The archive ends here.
    Archive,
    /// At something that is read from the start again.
    Failed,
}

impl Archive<'_> {
    /// The start of the archive, and what looks like a header in other parts of it, in order.
    fn starts(&self, pieces: u64, threads: u64) -> Vec<u64> {
        let guesses = (1..pieces).map(|piece| (self.len / pieces * piece).next_multiple_of(BLOCK)).collect::<Vec<_>>();
        let found = in_parallel(&guesses, threads, |_, &from| self.header_after(from));
        let mut starts: Vec<u64> = std::iter::once(0).chain(found.into_iter().flatten()).collect();
        starts.dedup();
        starts
    }

    /// The first block from `from` on that is a header as far as it shows.
    fn header_after(&self, from: u64) -> Option<u64> {
        let end = from.saturating_add(SEARCH_BYTES).min(self.len);
        let mut window = Vec::new();
        for at in (from..end).step_by(usize::try_from(WINDOW).expect("64 KiB")) {
            window.resize(usize::try_from(WINDOW.min(self.len - at)).expect("64 KiB"), 0);
            self.source.read_exact_at(&mut window, at).ok()?;
            let blocks = window.chunks_exact(Header::new_old().as_bytes().len());
            let header = (0..).zip(blocks).find(|(_, block)| is_header(block));
            if let Some((block, _)) = header {
                return Some(at + block * BLOCK);
            }
        }
        None
    }

    /// Reads from every start to the next one.
    fn chains(&self, starts: &[u64], threads: u64) -> Vec<Chain> {
        in_parallel(starts, threads, |number, &start| {
            let mut chain = Chain {
                reader: Reader::starting_at(
                    Random::new(Arc::clone(self.source), self.len),
                    self.id,
                    &self.limits,
                    start,
                ),
                additions: Vec::new(),
                places: Vec::new(),
                end: End::Open,
            };
            let until = starts.get(number + 1).copied().unwrap_or(u64::MAX);
            while chain.end == End::Open && chain.reader.offset() < until {
                chain.step();
            }
            chain
        })
    }
}

impl Chain {
    fn step(&mut self) {
        let place = self.reader.offset();
        // What holds for all files makes the rest depend on what came before: nobody may take over from there on.
        let place = if self.reader.has_global() { u64::MAX } else { place };
        match self.reader.next_addition() {
            Ok(Some(addition)) => {
                self.additions.push(addition);
                self.places.push(place);
            }
            Ok(None) => self.end = End::Archive,
            Err(_) => self.end = End::Failed,
        }
    }

    /// Which of its additions begins at a place.
    fn index_of(&self, place: u64) -> Option<usize> {
        self.places.binary_search(&place).ok()
    }
}

/// The additions of the first chain and of those that it leads to; `None` where one of them failed.
fn join(chains: Vec<Chain>) -> Option<Vec<Addition>> {
    let mut chains = chains.into_iter();
    let mut current = chains.next()?;
    let mut additions = std::mem::take(&mut current.additions);
    for mut next in chains {
        while current.end == End::Open && next.places.last().is_some_and(|&last| current.reader.offset() <= last) {
            let place = current.reader.offset();
            match next.index_of(place).filter(|_| !current.reader.has_global()) {
                Some(from) => {
                    additions.extend(next.additions.split_off(from));
                    // What it read before that was never in the archive, or was read by the ones before, too.
                    next.additions.clear();
                    current = next;
                    break;
                }
                None => {
                    current.step();
                    additions.append(&mut current.additions);
                }
            }
        }
    }
    while current.end == End::Open {
        current.step();
        additions.append(&mut current.additions);
    }
    (current.end == End::Archive).then_some(additions)
}

/// A header of ustar or GNU whose checksum is right.
fn is_header(block: &[u8]) -> bool {
    let mut header = Header::new_old();
    block[257..].starts_with(b"ustar") && {
        header.as_mut_bytes().copy_from_slice(block);
        Fields::parse(&header).is_ok()
    }
}

/// What `work` makes of each item, in their order.
fn in_parallel<T: Sync, R: Send>(items: &[T], threads: u64, work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { break };
                    let result = work(number, item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A part of an archive, whatever that does to it.
    #[derive(Clone, Debug)]
    enum Part {
        File(String, usize),
        Link(String, u64),
        Pax(Vec<(String, String)>),
        Global(String),
        LongName(usize),
        /// An archive as the content of a file.
        Nested(Vec<Part>),
        Sparse(usize),
        Garbage(Vec<u8>),
    }

    fn part() -> impl Strategy<Value = Part> {
        let leaf = prop_oneof![
            8 => ("[a-z]{1,8}", prop_oneof![0_usize..2_000, 0_usize..9_000]).prop_map(|(name, len)| Part::File(name, len)),
            1 => ("[a-z]{1,8}", prop_oneof![Just(0_u64), 0_u64..2_000]).prop_map(|(name, size)| Part::Link(name, size)),
            2 => proptest::collection::vec(("(path|size|mtime|uid|comment)", "[0-9]{1,3}"), 1..3).prop_map(Part::Pax),
            1 => "[0-9]{1,5}".prop_map(Part::Global),
            1 => (1_usize..600).prop_map(Part::LongName),
            1 => (0_usize..5).prop_map(Part::Sparse),
        ];
        let leaf = leaf.prop_recursive(1, 8, 6, |inner| proptest::collection::vec(inner, 1..6).prop_map(Part::Nested));
        prop_oneof![60 => leaf, 1 => proptest::collection::vec(any::<u8>(), 1..700).prop_map(Part::Garbage)]
    }

    fn header(flag: u8, name: &[u8], size: u64) -> [u8; 512] {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::new(flag));
        header.set_mode(0o644);
        header.set_uid(1);
        header.set_gid(1);
        header.set_mtime(1);
        header.set_size(size);
        header.set_cksum();
        *header.as_bytes()
    }

    fn put(archive: &mut Vec<u8>, flag: u8, name: &[u8], data: &[u8]) {
        archive.extend(header(flag, name, u64::try_from(data.len()).unwrap()));
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }

    fn records(pairs: &[(String, String)]) -> Vec<u8> {
        let record = |(key, value): &(String, String)| {
            let rest = key.len() + value.len() + 3;
            let len = (1..4).map(|digits| rest + digits).find(|len| len.to_string().len() == len - rest).unwrap();
            format!("{len} {key}={value}\n").into_bytes()
        };
        pairs.iter().flat_map(record).collect()
    }

    fn archive(parts: &[Part]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::File(name, len) => put(&mut bytes, b'0', name.as_bytes(), &vec![b'd'; *len]),
                Part::Link(name, size) => bytes.extend(header(b'1', name.as_bytes(), *size)),
                Part::Pax(pairs) => put(&mut bytes, b'x', b"x", &records(pairs)),
                Part::Global(mtime) => put(&mut bytes, b'g', b"g", &records(&[("mtime".into(), mtime.clone())])),
                Part::LongName(len) => put(&mut bytes, b'L', b"l", &vec![b'n'; *len]),
                Part::Nested(parts) => put(&mut bytes, b'0', b"nested", &archive(parts)),
                Part::Sparse(runs) => {
                    let map: Vec<String> = (0..*runs).map(|run| format!("{},3", run * 10)).collect();
                    let pairs = [("GNU.sparse.map", map.join(",")), ("GNU.sparse.size", "1000".to_owned())];
                    put(&mut bytes, b'x', b"x", &records(&pairs.map(|(key, value)| (key.to_owned(), value))));
                    put(&mut bytes, b'0', b"sparse", &vec![b's'; runs * 3]);
                }
                Part::Garbage(garbage) => bytes.extend(garbage),
            }
        }
        bytes
    }

    fn shown(diff: Result<Diff, TarError>) -> String {
        match diff {
            Ok(diff) => format!("{:?}", diff.additions),
            Err(error) => format!("{error:?}"),
        }
    }

    fn same(bytes: Vec<u8>, limits: &Limits) -> Result<(), TestCaseError> {
        let len = u64::try_from(bytes.len()).unwrap();
        let source: Arc<dyn ReadAt> = Arc::new(bytes);
        let one = shown(read(Arc::clone(&source), len, limits));
        for (threads, piece_bytes) in [(2, 4_096), (3, 512), (7, 1_024)] {
            let many = shown(read_pieces(&source, len, limits, threads, piece_bytes));
            prop_assert_eq!(&many, &one, "{} threads, pieces of {} bytes", threads, piece_bytes);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        #[cfg_attr(miri, ignore = "more than 90 s there")]
        fn any_archive_is_read_as_by_one(parts in proptest::collection::vec(part(), 0..60), cut in 0_usize..2_000, nodes in 1_u32..100) {
            let mut bytes = archive(&parts);
            let whole = bytes.clone();
            same(whole.clone(), &Limits::default())?;
            same(whole, &Limits { nodes, ..Limits::default() })?;
            bytes.truncate(bytes.len().saturating_sub(cut));
            same(bytes, &Limits { metadata_bytes: 10_000, ..Limits::default() })?;
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "more than 90 s there")]
    fn readers_join_where_entries_begin() {
        let parts: Vec<Part> = (0..500).map(|n| Part::File(format!("f{n}"), n * 37 % 3_000)).collect();
        let bytes = archive(&parts);
        let len = u64::try_from(bytes.len()).unwrap();
        let source: Arc<dyn ReadAt> = Arc::new(bytes);
        let id = Sources::default().add(Arc::clone(&source));
        let archive = Archive { source: &source, len, id, limits: Limits::default() };
        let starts = archive.starts(8, 2);
        assert_eq!(starts.len(), 8);
        let chains = archive.chains(&starts, 2);
        // Each but the last stops where the next one begins: nothing is read twice.
        for (chain, next) in chains.iter().zip(&starts[1..]) {
            assert_eq!(chain.reader.offset(), *next);
        }
        assert_eq!(join(chains).unwrap().len(), 500);
    }
}
