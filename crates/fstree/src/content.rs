//! Where the bytes of a file are. No bytes live here.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Random access to bytes that do not change while a tree refers to them.
pub trait ReadAt: Debug + Send + Sync {
    /// Fills `buf` from byte `offset` on.
    ///
    /// # Errors
    /// The error of the underlying read; `UnexpectedEof` when the source is shorter than that.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The open file behind this source, where there is one whose offsets are the source's own.
    fn file(&self) -> Option<&File> {
        None
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }

    fn file(&self) -> Option<&File> {
        Some(self)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(buf.len()));
        let bytes = start.zip(end).and_then(|(start, end)| self.get(start..end));
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

/// The number of a source in the [`Sources`] of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

impl SourceId {
    /// The number as an index.
    pub(crate) fn index(self) -> usize {
        usize::try_from(self.0).expect("u32 fits in usize")
    }
}

/// The sources that the contents of one tree refer to, numbered in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Arc<dyn ReadAt>>);

impl Sources {
    /// Adds a source.
    ///
    /// # Panics
    /// With more than `u32::MAX` sources.
    pub fn add(&mut self, source: Arc<dyn ReadAt>) -> SourceId {
        let id = SourceId(u32::try_from(self.0.len()).expect("fewer than 2^32 sources"));
        self.0.push(source);
        id
    }

    /// The source of that number.
    ///
    /// # Panics
    /// When `id` comes from another `Sources`.
    #[must_use]
    pub fn get(&self, id: SourceId) -> &dyn ReadAt {
        self.0[id.index()].as_ref()
    }

    /// Adds the sources of another list; the answer holds their new numbers, in their old order.
    pub(crate) fn append(&mut self, other: &Self) -> Vec<SourceId> {
        other.0.iter().map(|source| self.add(Arc::clone(source))).collect()
    }

    /// How many sources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no source.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A run of file bytes and where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte of the run, counted from the start of the file.
    pub file_offset: u64,
    /// The source that holds the bytes.
    pub source: SourceId,
    /// First byte of the run in that source.
    pub source_offset: u64,
    /// Length of the run in bytes.
    pub len_bytes: u64,
}

/// The content of a regular file: its size and the runs that are stored; what lies between them is a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    size_bytes: u64,
    segments: Segments,
}

/// Nearly every file is one run: it costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Segments {
    #[default]
    None,
    One(Segment),
    Many(Box<[Segment]>),
}

impl Content {
    /// A file of `len_bytes` bytes stored in one piece.
    #[must_use]
    pub fn stored(source: SourceId, source_offset: u64, len_bytes: u64) -> Self {
        if len_bytes == 0 {
            return Self::default();
        }
        let segment = Segment { file_offset: 0, source, source_offset, len_bytes };
        Self { size_bytes: len_bytes, segments: Segments::One(segment) }
    }

    /// A file of `size_bytes` bytes of which only `segments` are stored. Empty segments are dropped.
    ///
    /// Returns `None` unless the segments are in order, do not overlap and lie inside the file.
    #[must_use]
    pub fn sparse(size_bytes: u64, mut segments: Vec<Segment>) -> Option<Self> {
        segments.retain(|segment| segment.len_bytes > 0);
        let mut end = 0;
        for segment in &segments {
            if segment.file_offset < end {
                return None;
            }
            end = segment.file_offset.checked_add(segment.len_bytes)?;
        }
        if end > size_bytes {
            return None;
        }
        let segments = match segments.as_slice() {
            [] => Segments::None,
            [one] => Segments::One(*one),
            _ => Segments::Many(segments.into_boxed_slice()),
        };
        Some(Self { size_bytes, segments })
    }

    /// The size of the file in bytes, holes included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The stored runs, in file order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        match &self.segments {
            Segments::None => &[],
            Segments::One(segment) => std::slice::from_ref(segment),
            Segments::Many(segments) => segments,
        }
    }

    /// Has each run refer to the source that `renumber` names for its own.
    pub(crate) fn renumber(&mut self, renumber: impl Fn(SourceId) -> SourceId) {
        for segment in self.segments_mut() {
            segment.source = renumber(segment.source);
        }
    }

    /// The same content after the bytes of its runs were moved inside their source: `place` is told each run and answers
    /// with the offset it has now.
    ///
    /// # Errors
    /// Those of `place`.
    pub fn relocate<E>(&mut self, mut place: impl FnMut(&Segment) -> Result<u64, E>) -> Result<(), E> {
        for segment in self.segments_mut() {
            segment.source_offset = place(segment)?;
        }
        Ok(())
    }

    fn segments_mut(&mut self) -> &mut [Segment] {
        match &mut self.segments {
            Segments::None => &mut [],
            Segments::One(segment) => std::slice::from_mut(segment),
            Segments::Many(segments) => segments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_refuses_overlap_disorder_and_overrun() {
        let source = SourceId(0);
        let run = |file_offset, len_bytes| Segment { file_offset, source, source_offset: 0, len_bytes };
        assert!(Content::sparse(10, vec![run(0, 4), run(3, 2)]).is_none());
        assert!(Content::sparse(10, vec![run(4, 2), run(0, 2)]).is_none());
        assert!(Content::sparse(10, vec![run(8, 3)]).is_none());
        assert!(Content::sparse(u64::MAX, vec![run(u64::MAX, 2)]).is_none());
        let content = Content::sparse(10, vec![run(0, 4), run(6, 0), run(6, 4)]).unwrap();
        assert_eq!(content.segments().len(), 2);
    }

    #[test]
    fn bytes_in_memory_end_where_they_end() {
        let bytes = vec![1, 2, 3];
        let mut buf = [0; 2];
        ReadAt::read_exact_at(&bytes, &mut buf, 1).unwrap();
        assert_eq!(buf, [2, 3]);
        assert!(ReadAt::read_exact_at(&bytes, &mut buf, 2).is_err());
        assert!(ReadAt::read_exact_at(&bytes, &mut buf, u64::MAX).is_err());
    }
}
