//! The one error of this crate.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The tree does not fit into an image of that size.
    #[error(
        "the content does not fit into an image of {size_bytes} bytes; it needs {needed_bytes} bytes: {blocks} blocks of {block_bytes} bytes, \
         {inodes} inodes, and what the file system keeps for itself"
    )]
    NoSpace {
        /// The size asked for.
        size_bytes: u64,
        /// The next larger size that works.
        needed_bytes: u64,
        /// Blocks of directories, attributes, contents and the journal in an image of that size.
        blocks: u64,
        /// Bytes of a block.
        block_bytes: u64,
        /// Inodes, reserved ones included.
        inodes: u64,
    },
    /// The file system would have more than the 2^32 - 1 blocks that this crate writes.
    #[error("an image can have at most {max_bytes} bytes")]
    TooLarge {
        /// The largest size in bytes.
        max_bytes: u64,
    },
    /// Fewer inodes were asked for than the tree has.
    #[error("the content needs {needed} inodes, {asked} were asked for")]
    NotEnoughInodes {
        /// What was asked for.
        asked: u32,
        /// What is needed, reserved inodes included.
        needed: u64,
    },
    /// A value of the options that no file system can have.
    #[error("{what}")]
    Option {
        /// What is wrong.
        what: &'static str,
    },
    /// A part of the tree that ext4 cannot hold.
    #[error("'{}': {why}", path.escape_ascii())]
    Unrepresentable {
        /// A path of the node.
        path: Vec<u8>,
        /// What ext4 cannot hold.
        why: Unrepresentable,
    },
    /// Reading the content of a file failed.
    #[error("reading the content of '{}' at byte {offset} failed", path.escape_ascii())]
    ReadContent {
        /// A path of the file.
        path: Vec<u8>,
        /// Where in the file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Writing the image failed.
    #[error("writing the image at byte {offset} failed")]
    WriteImage {
        /// Where in the image.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Giving the image its size failed.
    #[error("setting the size of the image to {size_bytes} bytes failed")]
    SetSize {
        /// The size.
        size_bytes: u64,
        /// Why.
        source: io::Error,
    },
    /// What has the name of the image is none: a rename would replace it all the same.
    #[error("'{}' is there and is not a file, so it is not replaced; name another place", path.display())]
    NotAFile {
        /// The name.
        path: PathBuf,
    },
    /// The temporary file beside the image cannot be made.
    #[error("creating a temporary file in '{}' failed", directory.display())]
    CreateTemporary {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The finished image cannot be read back for its digest.
    #[error("reading the finished image at byte {offset} failed")]
    ReadImage {
        /// Where in the image.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The image cannot be put on disk for good.
    #[error("bringing the image to disk failed")]
    Sync {
        /// Why.
        source: io::Error,
    },
    /// The finished image cannot get its name.
    #[error("renaming the finished image to '{}' failed", path.display())]
    Rename {
        /// The name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The threads could not be started.
    #[error("starting the threads failed")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// The caller asked to stop.
    #[error("the image was cancelled")]
    Cancelled,
}

/// What ext4 cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unrepresentable {
    /// Too many names of one file.
    #[error("it has {links} hard links; ext4 allows 65,000")]
    Links {
        /// How many.
        links: u32,
    },
    /// More subdirectories than the link count holds, and one of the features that go without counting left out.
    #[error("it has {count} subdirectories; without the features dir_index and dir_nlink ext4 allows 64,998")]
    Subdirectories {
        /// How many.
        count: u64,
    },
    /// A file beyond 2^32 - 1 blocks, or beyond what there is without the features `large_file` and `huge_file`.
    #[error("its size of {size_bytes} bytes is beyond the {max_bytes} of a file")]
    FileSize {
        /// Its size.
        size_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// More entries than two levels of index hold.
    #[error("the directory has more entries than ext4's index holds")]
    DirectorySize,
    /// Attributes beyond an inode's tail and one block.
    #[error("its extended attributes take {len_bytes} bytes, more than the {max_bytes} that are left for them")]
    XattrSize {
        /// What does not fit into the inode.
        len_bytes: usize,
        /// What a block holds.
        max_bytes: usize,
    },
    /// Attributes, and the feature for them left out.
    #[error("it has extended attributes, and the feature ext_attr is left out")]
    Xattrs,
    /// An attribute name longer than one byte can count.
    #[error("the name of its extended attribute '{}' is too long", name.escape_ascii())]
    XattrName {
        /// The name.
        name: Vec<u8>,
    },
    /// An access control list that is not what the kernel writes.
    #[error("its access control list '{}' is malformed: {what}", name.escape_ascii())]
    Acl {
        /// The attribute.
        name: Vec<u8>,
        /// What is wrong.
        what: &'static str,
    },
    /// A link target that is empty, too long or holds a NUL byte.
    #[error("the target of the symbolic link has {len_bytes} bytes; 1 to {max_bytes} are possible, without NUL")]
    SymlinkTarget {
        /// Its length.
        len_bytes: usize,
        /// What a block holds beside a final NUL.
        max_bytes: usize,
    },
    /// `lost+found` is taken by something else, which file system checkers do not allow.
    #[error("it has to be a directory")]
    LostAndFound,
}
