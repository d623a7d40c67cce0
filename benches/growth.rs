//! One thing that grows, for `benches/growth`: `growth entries|bytes|layers N SCRATCH_DIR` makes an input of size N, then prints the seconds of the work on it
//! and the peak of memory in KiB, that of making the input included.
//!
//! - `entries`: a tar of N empty files, read, merged and written as an ext4 image
//! - `bytes`: the same with files of 1 MiB, N of them
//! - `layers`: an image of N layers of a hundred small files, half of which replace files of the layer below, verified, kept and merged

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drydock_benches::peak_memory_mib;
use ext4writer::{ImageSize, Options, write_image};
use fstree::{Addition, Content, Diff, Kind, Metadata, Node, Sources, TreePath};
use ocilayers::{Image, ImageRef, Limits, Store, flatten, tree_of_tar, write_layout};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const MIB: u64 = 1 << 20;
const FILES_OF_A_DIRECTORY: u64 = 1_000;
const FILES_OF_A_LAYER: u64 = 100;
const BYTES_OF_A_FILE: u64 = 4 << 10;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, count, scratch] = args.as_slice() else {
        eprintln!("usage: growth entries|bytes|layers N SCRATCH_DIR");
        return ExitCode::from(2);
    };
    match measure(what, count, Path::new(scratch)) {
        Ok(time) => println!("{:.4} {}", time.as_secs_f64(), peak_memory_mib() << 10),
        Err(error) => {
            eprintln!("growth: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(what: &str, count: &str, scratch: &Path) -> Result<Duration, Failure> {
    let count = count.parse()?;
    match what {
        "entries" => image_of_tar(&files(0, count, 0)?, scratch),
        "bytes" => image_of_tar(&files(0, count, MIB)?, scratch),
        "layers" => tree_of_layers(count, scratch),
        _ => Err(format!("nothing named '{what}' grows here").into()),
    }
}

/// Files of one size, from the `first` on, in directories of a thousand.
fn files(first: u64, count: u64, len_bytes: u64) -> Result<Diff, Failure> {
    let mut sources = Sources::default();
    let bytes = vec![b'd'; usize::try_from(len_bytes)?];
    let source = sources.add(Arc::new(bytes));
    let addition = |number: u64| -> Result<Addition, Failure> {
        let name = format!("usr/share/package{:04}/file{number:07}", number / FILES_OF_A_DIRECTORY);
        let node = Node {
            metadata: Metadata { mode: 0o644, ..Metadata::default() },
            kind: Kind::File(Content::stored(source, 0, len_bytes)),
        };
        Ok(Addition::Entry { path: TreePath::parse(name.as_bytes())?, node })
    };
    let additions = (first..first + count).map(addition).collect::<Result<_, _>>()?;
    Ok(Diff { additions, sources, ..Diff::default() })
}

fn image_of_tar(diff: &Diff, scratch: &Path) -> Result<Duration, Failure> {
    let (tar, image) = (scratch.join("growth.tar"), scratch.join("growth.ext4"));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&tar)?);
    fstree::tar::write_additions(&diff.additions, &diff.sources, &mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    let threads = std::thread::available_parallelism()?.get();
    let options = Options { size: ImageSize::Auto { headroom_bytes: 64 * MIB }, ..Options::default() };
    let start = Instant::now();
    let tree = tree_of_tar(&tar, &Limits::default(), threads)?;
    write_image(&tree, &options, &image)?;
    let taken = start.elapsed();
    fs::remove_file(tar)?;
    fs::remove_file(image)?;
    Ok(taken)
}

fn tree_of_layers(count: u64, scratch: &Path) -> Result<Duration, Failure> {
    let (layout, store, limits) = (scratch.join("layout"), scratch.join("store"), Limits::default());
    let layers = Store::open(&store, limits)?;
    let layer =
        |number| Ok(layers.commit(&files(number * FILES_OF_A_LAYER / 2, FILES_OF_A_LAYER, BYTES_OF_A_FILE)?)?);
    let made = (0..count).map(layer).collect::<Result<Vec<_>, Failure>>()?;
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux" });
    write_layout(&layout, "latest", config, &made, &limits)?;
    drop(made);
    fs::remove_dir_all(&store)?;
    let start = Instant::now();
    let image = Image::open(&ImageRef::Layout { dir: layout.clone(), tag: None }, &limits)?;
    let merged = flatten(&Store::open(&store, limits)?.layers(&image, None)?, &limits)?;
    let taken = start.elapsed();
    drop(merged);
    fs::remove_dir_all(layout)?;
    fs::remove_dir_all(store)?;
    Ok(taken)
}
