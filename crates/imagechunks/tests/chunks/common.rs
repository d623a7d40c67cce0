//! Images with holes, packs in memory, and sources that fail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use imagechunks::{Digest, FetchOptions, Manifest, PackOptions, Packed, Source};

pub(crate) static GO_ON: AtomicBool = AtomicBool::new(false);

pub(crate) const OPTIONS: FetchOptions<'_> =
    FetchOptions { threads: 2, cancel: &GO_ON, progress: &|_| {}, complete: &|| Ok(()) };

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// An image of so many bytes with these contents, holes between them, and the whole as bytes.
pub(crate) fn image(len: usize, parts: &[(usize, &[u8])]) -> (File, Vec<u8>) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len.try_into().unwrap()).unwrap();
    let mut whole = vec![0; len];
    for (at, part) in parts {
        file.write_all_at(part, (*at).try_into().unwrap()).unwrap();
        whole[*at..*at + part.len()].copy_from_slice(part);
    }
    (file, whole)
}

/// Packs by name, and what was read of them.
#[derive(Default)]
pub(crate) struct Packs {
    pub(crate) packs: BTreeMap<String, Vec<u8>>,
    pub(crate) reads: Mutex<Vec<(String, Range<u64>)>>,
}

impl Packs {
    /// Packs an image and keeps the pack if it is needed.
    pub(crate) fn pack(
        &mut self,
        name: &str,
        image: &(File, Vec<u8>),
        known: &[Manifest],
        options: &PackOptions,
    ) -> (Manifest, Packed) {
        let mut out = Vec::new();
        let packed = imagechunks::pack(&image.0, Digest::of(&image.1), known, name, &mut out, options).unwrap();
        assert_eq!(packed.1.pack_bytes, u64::try_from(out.len()).unwrap());
        assert_eq!(packed.0.packs().contains(&name.to_owned()), packed.1.new_chunks > 0);
        self.packs.insert(name.to_owned(), out);
        packed
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.reads.lock().unwrap().iter().map(|(_, range)| range.end - range.start).sum()
    }
}

impl Source for Packs {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.reads.lock().unwrap().push((pack.to_owned(), range.clone()));
        let pack = self.packs.get(pack).ok_or(io::ErrorKind::NotFound)?;
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        pack.get(range).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Small chunks, so that small images have many.
pub(crate) fn small() -> PackOptions {
    PackOptions { chunk_bytes: 4096, threads: 2, ..PackOptions::default() }
}

/// Packs as files, as another process has them.
pub(crate) struct Files(pub(crate) std::path::PathBuf);

impl Source for Files {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
        File::open(self.0.join(pack))?.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }
}

/// A source whose answers are changed on the way: given the number of the read, and what would be right.
pub(crate) struct Changed<'a, F>(pub(crate) &'a Packs, pub(crate) F, pub(crate) std::sync::atomic::AtomicUsize);

impl<'a, F: Fn(usize, Vec<u8>) -> io::Result<Vec<u8>> + Sync> Changed<'a, F> {
    pub(crate) fn new(packs: &'a Packs, change: F) -> Self {
        Self(packs, change, std::sync::atomic::AtomicUsize::new(0))
    }
}

impl<F: Fn(usize, Vec<u8>) -> io::Result<Vec<u8>> + Sync> Source for Changed<'_, F> {
    fn read(&self, pack: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let number = self.2.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        (self.1)(number, self.0.read(pack, range)?)
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
