//! What an ext4 file system is to be, as it is typed.

use std::num::NonZeroU32;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use drydock::{BlockSize, Features, ImageOptions, ImageSize, Inodes};
use fstree::Timestamp;

use crate::size::{parse_block_size, parse_bytes, parse_size};

/// The options of `drydock image ext4` that are of the file system itself.
#[derive(Debug, Args)]
pub(crate) struct FileSystem {
    /// The exact size of the image, or `auto`: as small as possible with 64 MiB free.
    #[arg(long, default_value = "512MiB", value_parser = parse_size)]
    size: ImageSize,
    /// Where files go in the image.
    #[arg(long, value_enum, default_value_t)]
    placement: Placement,
    /// The size of a block: 1KiB, 2KiB or 4KiB. Small blocks waste less behind small files; large ones are faster.
    #[arg(long, default_value = "4KiB", value_parser = parse_block_size)]
    block_size: BlockSize,
    /// The size of the journal, `none`, or `auto`: by the size of the image, and none below 2,048 blocks.
    #[arg(long, value_name = "SIZE", default_value = "auto", value_parser = parse_journal)]
    journal: Journal,
    /// At least so many inodes, those that the file system has for itself included.
    #[arg(long, value_name = "NUMBER", conflicts_with = "bytes_per_inode")]
    inodes: Option<u32>,
    /// One inode for so many bytes of the image, and always more than its files need; 16KiB without it.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    bytes_per_inode: Option<u64>,
    /// Blocks that only root may use.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    reserved_blocks: u64,
    /// The name of the volume, at most 16 bytes.
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// The UUID of the file system; made from the name of the image without it.
    #[arg(long, value_name = "UUID", value_parser = parse_uuid)]
    uuid: Option<[u8; 16]>,
    /// The seed of the hashes of directories, written as a UUID; made from the name of the image without it.
    #[arg(long, value_name = "UUID", value_parser = parse_uuid)]
    hash_seed: Option<[u8; 16]>,
    /// When the file system was made, in seconds since 1970; the time of its youngest file without it.
    #[arg(long, value_name = "SECONDS")]
    time: Option<i64>,
    /// What is in the inode tables where no inode is in use yet.
    #[arg(long, value_enum, default_value_t)]
    inode_tables: InodeTables,
    /// How many times its size the file system can grow to while it is mounted; 0 for not at all.
    #[arg(long, value_name = "TIMES", default_value_t = ImageOptions::default().grow_factor)]
    grow_factor: u32,
    /// Features of the format to have, and with `^` before them to leave out, as in `^64bit,^huge_file`.
    #[arg(long, value_name = "LIST", value_parser = parse_features)]
    features: Option<Features>,
    /// Make a file system that is never mounted for writing.
    #[arg(long)]
    read_only: bool,
}

/// What is in the inode tables where no inode is in use yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum InodeTables {
    /// A hole, which reads as zeros; there is nothing for the kernel to do.
    #[default]
    Sparse,
    /// A hole that the kernel fills with zeros in the background.
    Lazy,
    /// Zeros that are written.
    Full,
}

/// Where files go in an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Placement {
    /// One after the other.
    #[default]
    Compact,
    /// Those of lower layers where they are without the upper ones, so that images of one base have most of their bytes in common.
    Stable,
}

impl From<Placement> for drydock::Placement {
    fn from(placement: Placement) -> Self {
        match placement {
            Placement::Compact => Self::Compact,
            Placement::Stable => Self::Stable,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Journal {
    Auto,
    None,
    Bytes(u64),
}

impl FileSystem {
    /// The options that were typed; what has nothing to do with the file system itself is as by default.
    ///
    /// # Errors
    /// A size that is no whole number of blocks, or more than there can be.
    pub(crate) fn options(&self) -> anyhow::Result<ImageOptions> {
        Ok(ImageOptions {
            size: self.size,
            placement: self.placement.into(),
            block_size: self.block_size,
            uuid: self.uuid,
            hash_seed: self.hash_seed,
            label: self.label.clone(),
            time: self.time.map(|seconds| Timestamp { seconds, nanoseconds: 0 }),
            inodes: self.inodes()?,
            reserved_blocks: self.reserved_blocks,
            journal: self.journal()?,
            inode_tables: match self.inode_tables {
                InodeTables::Sparse => drydock::InodeTables::Sparse,
                InodeTables::Lazy => drydock::InodeTables::Lazy,
                InodeTables::Full => drydock::InodeTables::Full,
            },
            features: self.features.unwrap_or_default(),
            read_only: self.read_only,
            grow_factor: self.grow_factor,
            ..ImageOptions::default()
        })
    }

    fn inodes(&self) -> anyhow::Result<Inodes> {
        let bytes = match (self.inodes, self.bytes_per_inode) {
            (Some(inodes), _) => return Ok(Inodes::Exact(inodes)),
            (None, None) => return Ok(ImageOptions::default().inodes),
            (None, Some(bytes)) => u32::try_from(bytes).ok().and_then(NonZeroU32::new),
        };
        bytes.map(Inodes::BytesPerInode).context("--bytes-per-inode is 1 byte to less than 4GiB")
    }

    fn journal(&self) -> anyhow::Result<drydock::Journal> {
        let bytes = match self.journal {
            Journal::Auto => return Ok(drydock::Journal::Auto),
            Journal::None => return Ok(drydock::Journal::None),
            Journal::Bytes(bytes) => bytes,
        };
        let block = self.block_size.bytes();
        match u32::try_from(bytes / block) {
            Ok(blocks) if bytes.is_multiple_of(block) => Ok(drydock::Journal::Blocks(blocks)),
            _ => bail!("a journal of {bytes} bytes is no number of blocks of {block} bytes; write a multiple of them"),
        }
    }
}

fn parse_journal(text: &str) -> Result<Journal, String> {
    match text {
        "auto" => Ok(Journal::Auto),
        "none" => Ok(Journal::None),
        _ => parse_bytes(text).map(Journal::Bytes).map_err(|_| {
            format!("'{text}' is no size of a journal; write `auto`, `none` or a size with its unit, as in 16MiB")
        }),
    }
}

fn parse_features(text: &str) -> Result<Features, String> {
    Features::default().changed(text)
}

/// 32 hexadecimal digits, with hyphens after 8, 12, 16 and 20 of them or without.
fn parse_uuid(text: &str) -> Result<[u8; 16], String> {
    let wrong = || format!("'{text}' is no UUID; write one as 123e4567-e89b-42d3-a456-426614174000");
    let hyphens = text.match_indices('-').map(|(at, _)| at).collect::<Vec<_>>();
    if !(hyphens.is_empty() || hyphens == [8, 13, 18, 23]) {
        return Err(wrong());
    }
    let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b'-').collect();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let value = digits
        .iter()
        .fold(0_u128, |value, &digit| value << 4 | u128::from(char::from(digit).to_digit(16).unwrap_or_default()));
    Ok(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids() {
        let bytes = [0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x42, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00];
        assert_eq!(parse_uuid("123e4567-e89b-42d3-a456-426614174000"), Ok(bytes));
        assert_eq!(parse_uuid("123E4567E89B42D3A456426614174000"), Ok(bytes));
        for text in ["", "123e4567", "123e4567-e89b42d3a456426614174000", "123e4567-e89b-42d3-a456-42661417400g", "é"]
        {
            assert!(parse_uuid(text).unwrap_err().contains("is no UUID"), "{text}");
        }
    }

    #[test]
    fn journals() {
        assert!(matches!(parse_journal("none"), Ok(Journal::None)));
        assert!(matches!(parse_journal("16MiB"), Ok(Journal::Bytes(0x100_0000))));
        assert!(parse_journal("big").unwrap_err().contains("`auto`, `none`"));
    }
}
