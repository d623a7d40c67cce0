//! POSIX ACLs: from the attribute's form (version 2, linux/posix_acl_xattr.h) to that of ext4's disk (version 1,
//! fs/ext4/acl.h). Copied as it is, nobody but root could open the file.

const XATTR_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
/// Tag, permissions, id.
const XATTR_ENTRY_LEN: usize = 8;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The disk's form of an attribute, or what is wrong with it.
pub(super) fn to_disk(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (version, entries) = value.split_first_chunk::<4>().ok_or("it is too short")?;
    if u32::from_le_bytes(*version) != XATTR_VERSION {
        return Err("its version is not 2");
    }
    let (entries, rest) = entries.as_chunks::<XATTR_ENTRY_LEN>();
    if !rest.is_empty() {
        return Err("it ends inside an entry");
    }
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        // Entries for a named user or group keep their id; the others are half as long.
        match u16::from_le_bytes([entry[0], entry[1]]) {
            USER | GROUP => disk.extend_from_slice(entry),
            USER_OBJ | GROUP_OBJ | MASK | OTHER => disk.extend_from_slice(&entry[..4]),
            _ => return Err("an entry has an unknown tag"),
        }
    }
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_entries_keep_their_id_and_the_others_lose_it() {
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions, id) in [(1, 6, [255; 4]), (2, 5, [246, 1, 0, 0]), (4, 4, [255; 4]), (0x20, 0, [255; 4])]
        {
            value.extend([tag, 0, permissions, 0]);
            value.extend(id);
        }
        let disk = to_disk(&value).unwrap();
        assert_eq!(disk, [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 5, 0, 246, 1, 0, 0, 4, 0, 4, 0, 0x20, 0, 0, 0]);
    }

    #[test]
    fn refusals() {
        for value in [&[][..], &[2, 0, 0], &[1, 0, 0, 0], &[2, 0, 0, 0, 1], &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(to_disk(value).is_err(), "{value:?}");
        }
    }
}
