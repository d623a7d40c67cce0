//! The fields of one 512-byte header.

use tar::{GnuHeader, Header, UstarHeader};

use super::Fault;

/// A header whose checksum is right.
pub(super) struct Fields<'a>(&'a Header);

impl<'a> Fields<'a> {
    /// Checks the sum of the header: unsigned, or signed as some old writers had it.
    pub(super) fn parse(header: &'a Header) -> Result<Self, Fault> {
        let fields = Self(header);
        let bytes = header.as_bytes();
        let own = &header.as_old().cksum;
        let stored = number(own, "checksum")?;
        let right =
            stored == sum(bytes, own, i32::from) || stored == sum(bytes, own, |byte| i32::from(byte.cast_signed()));
        if right { Ok(fields) } else { Err(Fault::Checksum) }
    }

    pub(super) fn flag(&self) -> u8 {
        self.0.as_old().linkflag[0]
    }

    pub(super) fn size(&self) -> Result<u64, Fault> {
        unsigned(&self.0.as_old().size, "size")
    }

    pub(super) fn mode(&self) -> Result<u64, Fault> {
        unsigned(&self.0.as_old().mode, "mode")
    }

    pub(super) fn uid(&self) -> Result<u64, Fault> {
        unsigned(&self.0.as_old().uid, "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, Fault> {
        unsigned(&self.0.as_old().gid, "gid")
    }

    pub(super) fn mtime(&self) -> Result<i64, Fault> {
        number(&self.0.as_old().mtime, "mtime")
    }

    pub(super) fn link_name(&self) -> &'a [u8] {
        text(&self.0.as_old().linkname)
    }

    /// The device number; only ustar and GNU headers have one.
    pub(super) fn device(&self) -> Result<(u64, u64), Fault> {
        let (major, minor) = match (self.0.as_ustar(), self.0.as_gnu()) {
            (Some(UstarHeader { dev_major, dev_minor, .. }), _) | (_, Some(GnuHeader { dev_major, dev_minor, .. })) => {
                (dev_major, dev_minor)
            }
            _ => return Ok((0, 0)),
        };
        Ok((unsigned(major, "devmajor")?, unsigned(minor, "devminor")?))
    }

    /// The name; of a ustar header with its prefix before it.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0.as_old().name);
        // The headers of star look like ustar, and have two times in the last bytes of the prefix.
        let len = if self.0.as_bytes().ends_with(b"tar\0") { 131 } else { 155 };
        match self.0.as_ustar().map(|ustar| text(&ustar.prefix[..len])) {
            Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
            _ => name.to_vec(),
        }
    }

    /// The header as one of GNU tar, for the fields of old sparse files.
    pub(super) fn gnu(&self) -> Option<&'a GnuHeader> {
        self.0.as_gnu()
    }
}

/// The sum of all bytes, those of the field for it taken as blanks. Nothing but additions: this is done for every header there is.
fn sum(bytes: &[u8; 512], own: &[u8], value: impl Fn(u8) -> i32) -> i64 {
    let all: i32 = bytes.iter().map(|&byte| value(byte)).sum();
    let own: i32 = own.iter().map(|&byte| value(b' ') - value(byte)).sum();
    (all + own).into()
}

/// The bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A field that can't be negative.
pub(super) fn unsigned(field: &[u8], name: &'static str) -> Result<u64, Fault> {
    u64::try_from(number(field, name)?).map_err(|_| Fault::Number { field: name })
}

/// A number as tar writes it: octal digits between blanks and NULs, or GNU's base-256 (first bit set, then a big-endian
/// two's complement number). An empty field is 0.
fn number(field: &[u8], name: &'static str) -> Result<i64, Fault> {
    let fault = Fault::Number { field: name };
    match field.first() {
        Some(0x80..) => base_256(field).ok_or(fault),
        _ => octal(field).ok_or(fault),
    }
}

fn base_256(field: &[u8]) -> Option<i64> {
    // Bit 7 of the first byte is the mark, bit 6 the sign.
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let start: i64 = if negative { -1 } else { 0 };
    let bytes = std::iter::once(&first).chain(&field[1..]);
    bytes.into_iter().try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)))
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = field[start..].split(blank).next().unwrap_or_default();
    // After the number only blanks and NULs; bytes after a NUL are left over from earlier uses of the buffer.
    let digit = |value: i64, byte: &u8| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    };
    digits.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"0000648\0", None),
            (b"-0000001", None),
            (b"\x80\0\0\0\0\0\0\x01\0\0\0\0", Some(1 << 32)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field, "x").ok(), value, "{field:?}");
        }
    }
}
