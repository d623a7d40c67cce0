//! Extended attributes of a node: what goes to the tail of its inode, what to a block.

use std::borrow::Cow;

use fstree::Xattrs;
use sha2::{Digest, Sha256};

use super::acl;
use crate::block_size::BlockSize;
use crate::disk::xattr::{Attribute, TAIL_CAPACITY, ValueInode, block_capacity};
use crate::error::Unrepresentable;
use crate::features::Features;
use crate::units::{low_u8, u64_of};

/// `e_name_index` of the prefixes that Linux has on ext4.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
/// Names that are all prefix: access control lists, whose value has a form of its own.
const ACLS: [(&[u8], u8); 2] = [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];

/// The attributes of one node, each part in the order of the disk.
#[derive(Debug, Default)]
pub(crate) struct Placed<'a> {
    pub(crate) tail: Vec<Attribute<'a>>,
    /// Those whose value is in an inode of its own do not say yet in which.
    pub(crate) block: Vec<Attribute<'a>>,
    /// Attributes with a name that Linux does not have on ext4: `setxattr` would refuse them, too.
    pub(crate) skipped: u64,
}

impl<'a> Placed<'a> {
    /// The attributes whose values are in inodes of their own, in order.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = &Attribute<'a>> {
        self.block.iter().filter(|attribute| attribute.value_inode.is_some())
    }

    /// Says in which inodes these values are, in the same order.
    pub(crate) fn set_elsewhere(&mut self, inodes: impl Iterator<Item = ValueInode>) {
        let elsewhere = self.block.iter_mut().filter(|attribute| attribute.value_inode.is_some());
        for (attribute, inode) in elsewhere.zip(inodes) {
            attribute.value_inode = Some(inode);
        }
    }
}

/// Places attributes: the tail first, in order, as long as one fits. With the feature `ea_inode` the longest values that a block
/// has no room for go to inodes of their own.
pub(crate) fn place(xattrs: &Xattrs, block_size: BlockSize, features: Features) -> Result<Placed<'_>, Unrepresentable> {
    let mut placed = Placed::default();
    let mut attributes = Vec::with_capacity(xattrs.len());
    for (name, value) in xattrs {
        match attribute(name, value)? {
            Some(attribute) => attributes.push(attribute),
            None => placed.skipped += 1,
        }
    }
    attributes.sort();
    let mut tail_left = TAIL_CAPACITY;
    let mut block_len = 0;
    for attribute in attributes {
        let len = attribute.len();
        if len <= tail_left {
            tail_left -= len;
            placed.tail.push(attribute);
        } else {
            block_len += len;
            placed.block.push(attribute);
        }
    }
    let max_bytes = block_capacity(block_size.len());
    if block_len > max_bytes && features.contains(Features::EA_INODE) {
        block_len = move_out(&mut placed.block, block_len, max_bytes);
    }
    if block_len > max_bytes {
        return Err(Unrepresentable::XattrSize { len_bytes: block_len, max_bytes });
    }
    Ok(placed)
}

/// Moves values out of a block, the longest first, until the rest fits; how long that is.
fn move_out(block: &mut [Attribute<'_>], mut block_len: usize, max_bytes: usize) -> usize {
    let mut longest: Vec<&mut Attribute<'_>> =
        block.iter_mut().filter(|attribute| !attribute.value.is_empty()).collect();
    longest.sort_by_key(|attribute| std::cmp::Reverse(attribute.value.len()));
    for attribute in longest {
        if block_len <= max_bytes {
            break;
        }
        block_len -= attribute.len();
        attribute.value_inode = Some(ValueInode::default());
        block_len += attribute.len();
    }
    block_len
}

/// What two blocks of the same attributes have in common, and no others.
pub(crate) fn digest(attributes: &[Attribute<'_>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for attribute in attributes {
        hash.update([attribute.e_name_index, attribute.e_name_len]);
        hash.update(u64_of(attribute.value.len()).to_le_bytes());
        hash.update(attribute.name);
        hash.update(&attribute.value);
    }
    hash.finalize().into()
}

fn attribute<'a>(name: &'a [u8], value: &'a [u8]) -> Result<Option<Attribute<'a>>, Unrepresentable> {
    if let Some(&(_, e_name_index)) = ACLS.iter().find(|(acl, _)| *acl == name) {
        let value = acl::to_disk(value).map_err(|what| Unrepresentable::Acl { name: name.to_vec(), what })?;
        return Ok(Some(Attribute {
            e_name_index,
            e_name_len: 0,
            name: b"",
            value: Cow::Owned(value),
            value_inode: None,
        }));
    }
    let known = PREFIXES.iter().find_map(|&(prefix, index)| Some((name.strip_prefix(prefix)?, index)));
    let Some((rest, e_name_index)) = known.filter(|(rest, _)| !rest.is_empty()) else {
        return Ok(None);
    };
    if rest.len() > 255 || rest.contains(&0) {
        return Err(Unrepresentable::XattrName { name: name.to_vec() });
    }
    let e_name_len = low_u8(u64_of(rest.len()));
    let value = Cow::Borrowed(value);
    Ok(Some(Attribute { e_name_index, e_name_len, name: rest, value, value_inode: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattrs(list: &[(&[u8], usize)]) -> Xattrs {
        list.iter().map(|&(name, len)| (name.into(), vec![7; len].into())).collect()
    }

    #[test]
    fn small_ones_stay_in_the_inode() {
        let xattrs = xattrs(&[(b"user.a", 8), (b"security.capability", 20)]);
        let placed = place(&xattrs, BlockSize::Kib4, Features::default()).unwrap();
        assert_eq!((placed.tail.len(), placed.block.len(), placed.skipped), (2, 0, 0));
    }

    #[test]
    fn a_block_is_ordered_by_prefix_length_and_name() {
        let xattrs = xattrs(&[(b"user.bb", 90), (b"user.c", 90), (b"trusted.a", 90), (b"user.a", 90)]);
        let placed = place(&xattrs, BlockSize::Kib4, Features::default()).unwrap();
        let names: Vec<_> = placed.block.iter().map(|a| (a.e_name_index, a.name)).collect();
        assert_eq!(names, [(1, &b"a"[..]), (1, b"c"), (1, b"bb"), (4, b"a")]);
    }

    #[test]
    fn what_linux_does_not_have_is_counted_and_what_does_not_fit_is_refused() {
        let odd = xattrs(&[(b"com.apple.quarantine", 3), (b"user.", 3), (b"system.nfs4_acl", 3), (b"user.ok", 3)]);
        let placed = place(&odd, BlockSize::Kib4, Features::default()).unwrap();
        assert_eq!((placed.tail.len(), placed.skipped), (1, 3));
        // Entry of 20 bytes and value fill the block exactly, then not.
        for size in BlockSize::ALL {
            let capacity = block_capacity(size.len());
            let without = Features::default() - Features::EA_INODE;
            assert!(place(&xattrs(&[(b"user.abcd", capacity - 20)]), size, without).is_ok());
            assert!(place(&xattrs(&[(b"user.abcd", capacity - 19)]), size, without).is_err());
        }
        let long = [b"user.".as_slice(), &[b'x'; 256]].concat();
        let refused = xattrs(&[(&long, 1)]);
        let refused = place(&refused, BlockSize::Kib4, Features::default());
        assert!(matches!(refused, Err(Unrepresentable::XattrName { .. })));
    }

    #[test]
    fn the_longest_values_leave_a_block_that_is_too_full() {
        let list = [(&b"user.a"[..], 2_000), (b"user.b", 3_000), (b"user.c", 1_000), (b"user.d", 65_536)];
        let xattrs = xattrs(&list);
        let names = |size| {
            let placed = place(&xattrs, size, Features::default()).unwrap();
            placed.elsewhere().map(|attribute| attribute.name[0]).collect::<Vec<_>>()
        };
        assert_eq!(names(BlockSize::Kib4), b"bd");
        assert_eq!(names(BlockSize::Kib2), b"abd");
        assert_eq!(names(BlockSize::Kib1), b"abcd");
    }
}
