//! The names of features (super.rst, "Super Block Features"), as e2fsprogs writes them.

const INCOMPAT: [(u32, &str); 16] = [
    (0x1, "compression"),
    (0x2, "filetype"),
    (0x4, "needs_recovery"),
    (0x8, "journal_dev"),
    (0x10, "meta_bg"),
    (0x40, "extent"),
    (0x80, "64bit"),
    (0x100, "mmp"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x2000, "metadata_csum_seed"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];
const RO_COMPAT: [(u32, &str); 16] = [
    (0x1, "sparse_super"),
    (0x2, "large_file"),
    (0x4, "btree_dir"),
    (0x8, "huge_file"),
    (0x10, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x80, "has_snapshot"),
    (0x100, "quota"),
    (0x200, "bigalloc"),
    (0x400, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];

/// The names of features that change how a file system is read, between commas.
pub(crate) fn incompat(bits: u32) -> String {
    names(bits, &INCOMPAT)
}

/// The names of features that change how it is written.
pub(crate) fn ro_compat(bits: u32) -> String {
    names(bits, &RO_COMPAT)
}

/// What has no name is written as its number.
fn names(bits: u32, known: &[(u32, &str)]) -> String {
    let name = |bit: u32| {
        let found = known.iter().find(|(known, _)| *known == bit);
        found.map_or_else(|| format!("{bit:#x}"), |(_, name)| (*name).to_owned())
    };
    let set = (0..u32::BITS).map(|shift| 1 << shift).filter(|bit| bits & bit != 0);
    set.map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_has_a_name() {
        assert_eq!(incompat(0x8010), "meta_bg, inline_data");
        assert_eq!(ro_compat(0x4000_0100), "quota, 0x40000000");
    }
}
