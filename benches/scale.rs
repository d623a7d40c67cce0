//! One tree of an unusual shape to one ext4 image, for `benches/scale`.
//!
//! `scale CASE IMAGE` prints the seconds of making the tree, of the layout alone and of the whole write (which lays out again), and the
//! peak of memory in MiB before the layout: what the tree itself takes. Files have no content where their number is what counts.

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use drydock_benches::peak_memory_mib;
use ext4writer::{ImageSize, Options, layout, write_image};
use fstree::{Content, Kind, Metadata, Node, NodeId, Segment, SourceId, Tree};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const LARGE_BYTES: u64 = 9 << 29;
const RUNS: u64 = 10_000;
const RUN_BYTES: u64 = 4 << 10;
/// From the beginning of a run to that of the next.
const RUN_STRIDE: u64 = 64 << 10;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [case, image] = args.as_slice() else {
        eprintln!("usage: scale files|subdirectories|inodes|deep|large|runs IMAGE");
        return ExitCode::from(2);
    };
    match measure(case, Path::new(image)) {
        Ok(figures) => println!("{figures}"),
        Err(error) => {
            eprintln!("scale: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(case: &str, image: &Path) -> Result<String, Failure> {
    let start = Instant::now();
    let tree = tree(case, &image.with_extension("source"))?;
    let (made, memory) = (start.elapsed(), peak_memory_mib());
    let options = Options { size: ImageSize::Auto { headroom_bytes: 64 << 20 }, ..Options::default() };
    let start = Instant::now();
    layout(&tree, &options)?;
    let planned = start.elapsed();
    let start = Instant::now();
    write_image(&tree, &options, image)?;
    let [made, planned, written] = [made, planned, start.elapsed()].map(|time| time.as_secs_f64());
    Ok(format!("{made:.3} {planned:.3} {written:.3} {memory}"))
}

fn tree(case: &str, source: &Path) -> Result<Tree, Failure> {
    let mut tree = Tree::new(metadata(0o755));
    match case {
        "files" => add_files(&mut tree, Tree::ROOT, 100_000)?,
        "subdirectories" => {
            let parent = add_directory(&mut tree, Tree::ROOT, 0)?;
            for number in 0..70_000 {
                add_directory(&mut tree, parent, number)?;
            }
        }
        "inodes" => {
            for number in 0..1_000 {
                let parent = add_directory(&mut tree, Tree::ROOT, number)?;
                add_files(&mut tree, parent, 999)?;
            }
        }
        "deep" => {
            let mut parent = Tree::ROOT;
            for number in 0..200 {
                add_files(&mut tree, parent, 10)?;
                parent = add_directory(&mut tree, parent, number)?;
            }
        }
        "large" => {
            let source = add_source(&mut tree, source, LARGE_BYTES)?;
            add_file(&mut tree, Tree::ROOT, 0, Content::stored(source, 0, LARGE_BYTES))?;
        }
        "runs" => {
            let source = add_source(&mut tree, source, RUNS * RUN_BYTES)?;
            let segments = (0..RUNS).map(|number| Segment {
                file_offset: number * RUN_STRIDE,
                source,
                source_offset: number * RUN_BYTES,
                len_bytes: RUN_BYTES,
            });
            let content = Content::sparse(RUNS * RUN_STRIDE, segments.collect()).ok_or("runs that overlap")?;
            add_file(&mut tree, Tree::ROOT, 0, content)?;
        }
        _ => return Err(format!("no case '{case}'").into()),
    }
    Ok(tree)
}

fn metadata(mode: u16) -> Metadata {
    Metadata { mode, ..Metadata::default() }
}

fn add_directory(tree: &mut Tree, parent: NodeId, number: u32) -> Result<NodeId, Failure> {
    Ok(tree.insert(parent, format!("directory-{number}").as_bytes(), Node::directory(metadata(0o755)))?)
}

fn add_files(tree: &mut Tree, parent: NodeId, count: u32) -> Result<(), Failure> {
    (0..count).try_for_each(|number| add_file(tree, parent, number, Content::default()))
}

fn add_file(tree: &mut Tree, parent: NodeId, number: u32, content: Content) -> Result<(), Failure> {
    let node = Node { metadata: metadata(0o644), kind: Kind::File(content) };
    tree.insert(parent, format!("file-{number}").as_bytes(), node)?;
    Ok(())
}

/// A file of nothing but a hole, without a name any more: reading it costs no disk, writing what was read does.
fn add_source(tree: &mut Tree, path: &Path, len_bytes: u64) -> Result<SourceId, Failure> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    fs::remove_file(path)?;
    file.set_len(len_bytes)?;
    Ok(tree.sources.add(Arc::new(file)))
}
