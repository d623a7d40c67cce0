//! Which features of the format a file system has.

use bitflags::bitflags;

bitflags! {
    /// Features that a file system may have or not, under the names of `mke2fs` (docs/decisions/ext4-profile.md says why each
    /// is in or out by default). `extent` is always there; the journal and `resize_inode` are chosen by
    /// [`Options::journal`](crate::Options::journal) and [`Options::grow_factor`](crate::Options::grow_factor).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// `ext_attr`: extended attributes and access control lists.
        const EXT_ATTR = 1;
        /// `dir_index`: large directories have an index.
        const DIR_INDEX = 1 << 1;
        /// `filetype`: entries of directories say of which kind they are.
        const FILETYPE = 1 << 2;
        /// `64bit`: group descriptors of 64 bytes, with checksums of 32 bits.
        const BIT64 = 1 << 3;
        /// `flex_bg`: bitmaps and inode tables of 16 groups lie together.
        const FLEX_BG = 1 << 4;
        /// `sparse_super`: copies of superblock and descriptors in a few groups alone.
        const SPARSE_SUPER = 1 << 5;
        /// `large_file`: files of 2 GiB and more.
        const LARGE_FILE = 1 << 6;
        /// `huge_file`: files with 2 TiB of blocks and more.
        const HUGE_FILE = 1 << 7;
        /// `dir_nlink`: directories of more than 64,998 subdirectories.
        const DIR_NLINK = 1 << 8;
        /// `extra_isize`: the times of every inode have nanoseconds for certain.
        const EXTRA_ISIZE = 1 << 9;
        /// `metadata_csum`: all metadata have checksums.
        const METADATA_CSUM = 1 << 10;
        /// `metadata_csum_seed`: the UUID can be changed without a change of all checksums.
        const METADATA_CSUM_SEED = 1 << 11;
        /// `orphan_file`: files without a name are kept track of in a file, for which many threads need not wait for each other.
        /// Needs a journal, and Linux 5.15.
        const ORPHAN_FILE = 1 << 12;
        /// `ea_inode`: values of attributes that no block holds are in inodes. The file system has it where its tree needs it.
        const EA_INODE = 1 << 13;
        /// `large_dir`: indexes of directories with three levels. The file system has it where its tree needs it.
        const LARGE_DIR = 1 << 14;
    }
}

/// The names of `mke2fs`.
const NAMES: [(&str, Features); 15] = [
    ("ext_attr", Features::EXT_ATTR),
    ("dir_index", Features::DIR_INDEX),
    ("filetype", Features::FILETYPE),
    ("64bit", Features::BIT64),
    ("flex_bg", Features::FLEX_BG),
    ("sparse_super", Features::SPARSE_SUPER),
    ("large_file", Features::LARGE_FILE),
    ("huge_file", Features::HUGE_FILE),
    ("dir_nlink", Features::DIR_NLINK),
    ("extra_isize", Features::EXTRA_ISIZE),
    ("metadata_csum", Features::METADATA_CSUM),
    ("metadata_csum_seed", Features::METADATA_CSUM_SEED),
    ("orphan_file", Features::ORPHAN_FILE),
    ("ea_inode", Features::EA_INODE),
    ("large_dir", Features::LARGE_DIR),
];

impl Default for Features {
    /// The profile: what every kernel since 4.4 and every e2fsprogs since 1.43 knows, and what trees that need it cannot do without.
    fn default() -> Self {
        Self::all() - Self::ORPHAN_FILE
    }
}

impl Features {
    /// These features with the changes of a list as `mke2fs -O` takes it: names between commas, `^` before those to leave out.
    ///
    /// ```
    /// use ext4writer::Features;
    ///
    /// let features = Features::default().changed("^64bit,^huge_file")?;
    /// assert_eq!(features, Features::default() - Features::BIT64 - Features::HUGE_FILE);
    /// assert!(Features::default().changed("inline_data").unwrap_err().contains("'inline_data'"));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// A name that is none of these features; the message says which there are.
    pub fn changed(self, list: &str) -> Result<Self, String> {
        let mut features = self;
        for change in list.split(',') {
            let (name, is_in) = change.strip_prefix('^').map_or((change, true), |name| (name, false));
            match NAMES.iter().find(|(known, _)| *known == name) {
                Some(&(_, feature)) => features.set(feature, is_in),
                None => return Err(unknown(name)),
            }
        }
        Ok(features)
    }
}

fn unknown(name: &str) -> String {
    match name {
        "has_journal" => "'has_journal' is chosen by the size of the journal, none or one".to_owned(),
        "resize_inode" => "'resize_inode' is chosen by the grow factor, 0 or more".to_owned(),
        _ => {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("'{name}' is no feature that can be chosen here; there are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_name() {
        let all = NAMES.iter().fold(Features::empty(), |all, (_, feature)| all | *feature);
        assert_eq!(all, Features::all());
        for (name, feature) in NAMES {
            assert_eq!(Features::empty().changed(name), Ok(feature));
            assert_eq!(Features::all().changed(&format!("^{name}")), Ok(Features::all() - feature));
        }
        assert!(Features::all().changed("^has_journal").unwrap_err().contains("journal, none"));
        assert!(Features::all().changed("").unwrap_err().contains("there are ext_attr, "));
    }
}
