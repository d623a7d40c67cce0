//! Images without a build: any reference to a tree, any tree to an ext4 image.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::Path;

use buildengine::Cancel;
use ext4writer::{Options, Placement, Report};
use fstree::{Kind, Timestamp, Tree};
use ocilayers::{Digest, Image, ImageRef, OpenOptions, Store};

use crate::error::Error;

/// The merged tree of an image. Layers are kept uncompressed below `state`; the contents of a plain tar stay where they are.
///
/// # Errors
/// The image is not there, can't be reached, is damaged, or can't be merged.
pub fn tree(reference: &ImageRef, options: &OpenOptions, state: &Path, threads: Option<usize>) -> Result<Tree, Error> {
    let limits = &options.limits;
    if let ImageRef::Tar { file } = reference {
        let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(NonZeroUsize::get)).unwrap_or(1);
        return Ok(ocilayers::tree_of_tar(file, limits, threads)?);
    }
    let image = Image::open_with(reference, options)?;
    let store = Store::open(&state.join("layers"), *limits).map_err(Error::State)?;
    let layers = store.layers(&image, threads)?;
    Ok(ocilayers::flatten(&layers, limits)?)
}

/// Writes `tree` as an ext4 image to `output`, which appears when it is complete.
///
/// `identity` names the content: where the options have no UUID and no hash seed of the file system they are made from it, and
/// where they have no time it is that of the youngest file, so that the same content gives the same bytes. With [`Placement::Stable`] hash
/// seed and time are made from the lowest layer, since they are in every directory and every inode of images that are to have much in
/// common.
///
/// # Errors
/// The content does not fit (the error says what it needs), can't be read, or the image can't be written.
pub fn write_image(
    tree: &Tree,
    identity: &str,
    options: &Options,
    output: &Path,
    cancel: &Cancel,
) -> Result<Report, Error> {
    let named =
        |chosen: Option<[u8; 16]>, what| Some(chosen.unwrap_or_else(|| uuid(&format!("drydock {what} {identity}"))));
    let options = Options {
        uuid: named(options.uuid, "file system"),
        hash_seed: match options.placement {
            Placement::Compact => named(options.hash_seed, "directory hash"),
            Placement::Stable => options.hash_seed,
        },
        time: options.time.or_else(|| {
            Some(match options.placement {
                Placement::Compact => newest(tree),
                Placement::Stable => newest_of_base(tree),
            })
        }),
        cancel: Some(cancel.flag()),
        ..options.clone()
    };
    ext4writer::write_image(tree, &options, output).map_err(Error::from)
}

/// Checks the checksums and the structure of an ext4 image; see [`ext4verify::verify`].
///
/// # Errors
/// The image can't be read, is none, or has a feature that is not known. What is wrong with it is in the report.
pub fn verify_image(path: &Path) -> Result<ext4verify::Report, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let image = std::fs::File::open(path).map_err(failed)?;
    let len = image.metadata().map_err(failed)?.len();
    Ok(ext4verify::verify(&image, len)?)
}

/// A digest as hexadecimal digits.
pub(crate) fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A UUID made from a name (RFC 9562, version 8: custom).
fn uuid(name: &str) -> [u8; 16] {
    let hex = Digest::of(name.as_bytes()).hex();
    let mut bytes = [0; 16];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
        *byte = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
    }
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// The youngest file of the lowest layer, removed since or not.
fn newest_of_base(tree: &Tree) -> Timestamp {
    let nodes = tree.generations().next().into_iter().flatten().map(|index| tree.remembered(index).1);
    let times = nodes.filter(|node| !node.is_directory()).map(|node| node.metadata.mtime);
    times.fold(Timestamp::default(), Timestamp::max)
}

fn newest(tree: &Tree) -> Timestamp {
    let mut newest = Timestamp::default();
    let done: Result<(), Infallible> = fstree::walk(tree, |visit| {
        if !matches!(visit.node.kind, Kind::Directory(_)) {
            newest = newest.max(visit.node.metadata.mtime);
        }
        Ok(())
    });
    match done {
        Ok(()) => newest,
    }
}
