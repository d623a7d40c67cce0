//! `tar2ext4 ARCHIVE.tar IMAGE SIZE_BYTES [THREADS]`: a tar archive to an ext4 image.

use std::path::Path;
use std::sync::Arc;

use ext4writer::{ImageSize, Options, write_image};
use fstree::{Limits, Metadata, Tree, tar};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [archive, image, size_bytes, rest @ ..] = arguments.as_slice() else {
        return Err("usage: tar2ext4 ARCHIVE.tar IMAGE SIZE_BYTES [THREADS]".into());
    };
    let archive = std::fs::File::open(archive)?;
    let len_bytes = archive.metadata()?.len();
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    tree.apply(tar::read(Arc::new(archive), len_bytes, &Limits::default())?)?;
    let threads = rest.first().map(|threads| threads.parse()).transpose()?;
    let options = Options { size: ImageSize::Exact(size_bytes.parse()?), threads, ..Options::default() };
    write_image(&tree, &options, Path::new(image))?;
    Ok(())
}
