//! Blocks of zeros inside files made holes.

use std::io;

use crate::content::{Content, Segment, Sources};
use crate::node::Kind;
use crate::tree::Tree;

/// What a file system can leave out: whole blocks of 4 KiB, counted from the start of the file.
const BLOCK: u64 = 4_096;
/// Bytes read at a time, whole blocks.
const PIECE: u64 = 1 << 20;
/// Runs of one file beyond which the rest of it stays as it is: memory must not follow what a file holds.
const RUNS_MAX: usize = 100_000;

impl Tree {
    /// Makes every block of zeros of every file a hole; reads all contents once. Says how many bytes are no longer stored.
    ///
    /// The bytes of the files stay the same; programs that look see that they are sparse.
    ///
    /// # Errors
    /// A content can't be read. The tree is as good as before then.
    pub fn dig_holes(&mut self) -> io::Result<u64> {
        let mut dug = 0;
        let (nodes, sources) = self.nodes_and_sources();
        for node in nodes {
            if let Kind::File(content) = &mut node.kind {
                let before = stored(content);
                *content = without_zeros(content, sources)?;
                dug += before - stored(content);
            }
        }
        Ok(dug)
    }
}

fn stored(content: &Content) -> u64 {
    content.segments().iter().map(|run| run.len_bytes).sum()
}

fn without_zeros(content: &Content, sources: &Sources) -> io::Result<Content> {
    let mut kept: Vec<Segment> = Vec::new();
    let mut buffer = Vec::new();
    for run in content.segments() {
        let mut at = run.file_offset;
        let end = run.file_offset + run.len_bytes;
        while at < end {
            if kept.len() >= RUNS_MAX {
                keep(&mut kept, run, at..end);
                break;
            }
            let next = ((at / PIECE + 1) * PIECE).min(end);
            buffer.resize(usize::try_from(next - at).expect("a piece fits in memory"), 0);
            sources.get(run.source).read_exact_at(&mut buffer, run.source_offset + (at - run.file_offset))?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let to_boundary = usize::try_from(BLOCK - at % BLOCK).expect("less than a block");
                let (block, after) = rest.split_at(to_boundary.min(rest.len()));
                let len = u64::try_from(block.len()).expect("usize fits in u64");
                // The last block of a file may be short: its end is zero on the disk too.
                let is_whole = len == BLOCK || at.is_multiple_of(BLOCK) && at + len == content.size_bytes();
                if !is_whole || block.iter().any(|&byte| byte != 0) {
                    keep(&mut kept, run, at..at + len);
                }
                at += len;
                rest = after;
            }
        }
    }
    Ok(Content::sparse(content.size_bytes(), kept).expect("parts of runs that were in order"))
}

/// Adds a part of `run`, to the one before where it goes on in the same place.
fn keep(kept: &mut Vec<Segment>, run: &Segment, part: std::ops::Range<u64>) {
    let source_offset = run.source_offset + (part.start - run.file_offset);
    let len_bytes = part.end - part.start;
    match kept.last_mut() {
        Some(last)
            if last.source == run.source
                && last.file_offset + last.len_bytes == part.start
                && last.source_offset + last.len_bytes == source_offset =>
        {
            last.len_bytes += len_bytes;
        }
        _ => kept.push(Segment { file_offset: part.start, source: run.source, source_offset, len_bytes }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::{Metadata, Node};

    #[test]
    fn whole_blocks_of_zeros_and_nothing_else() {
        // x at 5 and in the third block; the fourth is short and zero.
        let mut bytes = vec![0; 3 * 4_096 + 100];
        (bytes[5], bytes[9_000]) = (b'x', b'x');
        let mut tree = Tree::new(Metadata::default());
        let source = tree.sources.add(Arc::new(bytes.clone()));
        let len = u64::try_from(bytes.len()).unwrap();
        let add = |tree: &mut Tree, name: &[u8], content| {
            tree.insert(Tree::ROOT, name, Node { metadata: Metadata::default(), kind: Kind::File(content) }).unwrap()
        };
        let whole = add(&mut tree, b"whole", Content::stored(source, 0, len));
        let beside = add(&mut tree, b"beside", Content::stored(source, 1, len - 1));
        let zeros = add(&mut tree, b"zeros", Content::stored(source, 4_096, 4_096));
        assert_eq!(tree.dig_holes().unwrap(), 4_096 + 100 + 4_096 + 99 + 4_096);
        let runs = |id| match &tree.node(id).kind {
            Kind::File(content) => {
                content.segments().iter().map(|run| (run.file_offset, run.source_offset, run.len_bytes)).collect()
            }
            _ => vec![],
        };
        assert_eq!(runs(whole), [(0, 0, 4_096), (8_192, 8_192, 4_096)]);
        assert_eq!(runs(beside), [(0, 1, 4_096), (8_192, 8_193, 4_096)]);
        assert_eq!(runs(zeros), []);
    }
}
