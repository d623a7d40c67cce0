//! Values of attributes in inodes of their own (attributes.rst, "ea_inode"): what the inodes hold against what the attributes say.

use std::collections::BTreeMap;

use crate::bytes::wide;
use crate::report::{Code, Report};
use crate::xattrs::ValueRef;

/// The longest value of an attribute (`EXT4_XATTR_SIZE_MAX`).
pub(crate) const LEN_MAX: u64 = 1 << 24;

/// An inode that holds a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) size: u64,
    /// The checksum of what it holds.
    pub(crate) hash: u32,
    /// How many attributes it says have it.
    pub(crate) users: u64,
}

/// Values and those who have them.
#[derive(Debug, Default)]
pub(crate) struct Values {
    found: BTreeMap<u32, Value>,
    refs: Vec<ValueRef>,
}

impl Values {
    pub(crate) fn add(&mut self, inode: u32, value: Value) {
        self.found.insert(inode, value);
    }

    pub(crate) fn refer(&mut self, refs: Vec<ValueRef>) {
        self.refs.extend(refs);
    }

    /// Whether an inode is one that needs no name.
    pub(crate) fn holds(&self, inode: u32) -> bool {
        self.found.contains_key(&inode)
    }

    /// Compares both once all are known.
    pub(crate) fn check(&self, report: &mut Report) {
        let mut users: BTreeMap<u32, u64> = BTreeMap::new();
        for found in &self.refs {
            *users.entry(found.inode).or_default() += 1;
            let mut wrong = |message: &str| report.add(Code::Xattrs, Some(found.inode), None, message);
            match self.found.get(&found.inode) {
                None => wrong("an attribute has its value in it, and it holds none"),
                Some(value) if value.size != u64::from(found.size) => {
                    wrong("the value in it is not as long as its attribute says");
                }
                Some(value) if !found.is_hash_of(value.hash) => {
                    wrong("the hash of the attribute of its value is wrong")
                }
                Some(_) => {}
            }
        }
        for (&inode, value) in &self.found {
            let found = users.get(&inode).copied().unwrap_or(0);
            if found != value.users {
                let message = format!("it says that {} attributes have the value in it, and {found} have", value.users);
                report.add(Code::Xattrs, Some(inode), None, message);
            }
        }
        report.counts.values = wide(self.found.len());
    }
}
