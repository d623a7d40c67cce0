//! POSIX ACLs in text form (`SCHILY.acl.access`, `SCHILY.acl.default`) to the attribute of the kernel: version 2, then
//! entries of tag, permissions and id, all little-endian (linux/posix_acl_xattr.h).

use super::Fault;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The id of entries that need none.
const NO_ID: u32 = u32::MAX;

/// The attribute for a text of entries such as `user::rwx,user:lisa:rw-:502,mask::r-x`.
///
/// The numeric id is the fourth field, as star and libarchive write it, or stands in place of the name.
pub(super) fn to_xattr(text: &[u8]) -> Result<Vec<u8>, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Acl { what: "it is not text" })?;
    let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty() && !entry.starts_with('#'));
    let mut entries = entries.map(entry).collect::<Result<Vec<_>, _>>()?;
    // The kernel wants them by tag and id.
    entries.sort_unstable();
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(value)
}

fn entry(text: &str) -> Result<(u16, u32, u16), Fault> {
    let fields: Vec<&str> = text.split(':').collect();
    let [kind, name, permissions, ..] = fields.as_slice() else {
        return Err(Fault::Acl { what: "an entry of too few fields" });
    };
    let (own, named) = match *kind {
        "user" | "u" => (USER_OBJ, USER),
        "group" | "g" => (GROUP_OBJ, GROUP),
        "mask" | "m" => (MASK, MASK),
        "other" | "o" => (OTHER, OTHER),
        _ => return Err(Fault::Acl { what: "an entry of an unknown kind" }),
    };
    let permissions = permissions.bytes().try_fold(0, |bits, letter| match letter {
        b'r' => Ok(bits | 4),
        b'w' => Ok(bits | 2),
        b'x' => Ok(bits | 1),
        b'-' => Ok(bits),
        _ => Err(Fault::Acl { what: "permissions other than r, w, x and -" }),
    })?;
    if name.is_empty() || own == named {
        return Ok((own, NO_ID, permissions));
    }
    let id = fields.get(3).copied().unwrap_or(name).parse();
    id.map(|id| (named, id, permissions)).map_err(|_| Fault::Acl { what: "a user or group without a number" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_to_attribute() {
        let value = to_xattr(b"user::rw-,user:lisa:r-x:502,group::r--,mask::r-x,other::---").unwrap();
        assert_eq!(value.len(), 4 + 5 * 8);
        assert_eq!(value[..4], [2, 0, 0, 0]);
        assert_eq!(value[4..12], [1, 0, 6, 0, 255, 255, 255, 255]);
        assert_eq!(value[12..20], [2, 0, 5, 0, 246, 1, 0, 0]);
    }

    #[test]
    fn refusals() {
        for text in ["user:lisa:r--", "someone::r--", "user::rq-", "user"] {
            assert!(to_xattr(text.as_bytes()).is_err(), "{text}");
        }
    }
}
