//! PAX extended headers: `length key=value\n` records (POSIX.1-2001, "pax Extended Header").

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Fault;
use crate::limits::Limits;
use crate::node::Timestamp;

/// The records of one or more extended headers; a later record of the same key wins.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The bytes that keys and values take.
    len_bytes: usize,
    /// GNU.sparse.0.0 repeats its keys: the numbers in order.
    pub(super) sparse_0_0: Vec<u64>,
}

impl Records {
    /// Adds the records of `data`. One header may have so many bytes of them, and so may all that add up.
    ///
    /// The length of a record counts itself, and says where its value ends: values hold any byte, newlines too.
    pub(super) fn add(&mut self, mut data: &[u8], limits: &Limits) -> Result<(), Fault> {
        let fault = |what| Fault::Pax { what };
        while !data.is_empty() {
            let blank = data.iter().position(|&byte| byte == b' ').ok_or(fault("a record without a length"))?;
            let len = decimal(&data[..blank]).ok_or(fault("a length that is not a number"))?;
            let len = usize::try_from(len).map_err(|_| fault("a length beyond the header"))?;
            let record = data.get(..len).filter(|_| len > blank + 1).ok_or(fault("a length beyond the header"))?;
            let body =
                record[blank + 1..].strip_suffix(b"\n").ok_or(fault("a record that does not end in a newline"))?;
            let equals = body.iter().position(|&byte| byte == b'=').ok_or(fault("a record without '='"))?;
            self.put(&body[..equals], &body[equals + 1..], limits)?;
            data = &data[len..];
        }
        if u64::try_from(self.len_bytes).is_ok_and(|len| len <= limits.header_bytes) {
            return Ok(());
        }
        Err(Fault::Limit { what: "bytes of extended header", max: limits.header_bytes })
    }

    fn put(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Fault> {
        let fault = |what| Fault::Pax { what };
        if key.is_empty() || key.contains(&0) {
            return Err(fault("a key that is empty or holds NUL"));
        }
        let binary = key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.");
        if value.contains(&0) && !binary {
            return Err(fault("a value that holds NUL"));
        }
        match key {
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let number = decimal(value).ok_or(fault("a sparse number that is none"))?;
                if self.sparse_0_0.len() / 2 >= usize::try_from(limits.sparse_segments).unwrap_or(usize::MAX) {
                    return Err(Fault::Limit { what: "sparse runs", max: limits.sparse_segments });
                }
                self.sparse_0_0.push(number);
            }
            // POSIX: an empty value takes the key back. An empty attribute is an attribute.
            _ if value.is_empty() && !binary => self.take(key),
            _ => {
                self.take(key);
                self.len_bytes += key.len() + value.len();
                self.values.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8]) {
        if let Some(value) = self.values.remove(key) {
            self.len_bytes -= key.len() + value.len();
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// All keys with a prefix, without it, in byte order, and their values.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let all = self.values.range::<[u8], _>((Bound::Included(prefix.as_bytes()), Bound::Unbounded));
        all.map_while(move |(key, value)| Some((key.strip_prefix(prefix.as_bytes())?, value.as_slice())))
    }

    /// A decimal number.
    pub(super) fn number(&self, key: &'static str) -> Result<Option<u64>, Fault> {
        self.get(key).map(|value| decimal(value).ok_or(Fault::Number { field: key })).transpose()
    }

    /// A time: decimal seconds with a sign and a fraction, both optional. What is finer than a nanosecond is cut off.
    pub(super) fn time(&self, key: &'static str) -> Result<Option<Timestamp>, Fault> {
        self.get(key).map(|value| time(value).ok_or(Fault::Number { field: key })).transpose()
    }

    /// Refuses records that describe one file where they would hold for all that follow: nobody writes them, and tools that
    /// pass over them would see other entries than this one does.
    pub(super) fn refuse_of_one_file(&self) -> Result<(), Fault> {
        let of_one = |key: &[u8]| matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.");
        if self.values.keys().any(|key| of_one(key)) || !self.sparse_0_0.is_empty() {
            return Err(Fault::Pax { what: "a name, a size or a sparse map for all files" });
        }
        Ok(())
    }

    /// Puts the records of `later` over these.
    pub(super) fn overlay(&self, later: Self) -> Self {
        if self.is_empty() {
            return later;
        }
        let mut values = self.values.clone();
        values.extend(later.values);
        let len_bytes = values.iter().map(|(key, value)| key.len() + value.len()).sum();
        Self { values, len_bytes, sparse_0_0: later.sparse_0_0 }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.sparse_0_0.is_empty()
    }

    /// The bytes that keys and values take.
    pub(super) fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

/// Decimal digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let digit = |value: u64, byte: &u8| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    };
    text.iter().try_fold(0, digit)
}

fn time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let whole = decimal(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |value: u32, byte| value * 10 + u32::from(byte - b'0'));
    let seconds = if negative { 0_i64.checked_sub_unsigned(whole)? } else { i64::try_from(whole).ok()? };
    Some(match (negative, nanoseconds) {
        (false, _) | (true, 0) => Timestamp { seconds, nanoseconds },
        // Nanoseconds count forward from the second before.
        (true, _) => Timestamp { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(data: &[u8]) -> Result<Records, Fault> {
        let mut records = Records::default();
        records.add(data, &Limits::default()).map(|()| records)
    }

    #[test]
    fn values_may_hold_newlines_and_later_ones_win() {
        let read = records(b"13 path=a\nb\x01\n9 path=c\n30 SCHILY.xattr.user.x=\x00\n=\n y\n").unwrap();
        assert_eq!(read.get("path"), Some(&b"c"[..]));
        let attributes: Vec<_> = read.with_prefix("SCHILY.xattr.").collect();
        assert_eq!(attributes, [(&b"user.x"[..], &b"\x00\n=\n y"[..])]);
    }

    #[test]
    fn malformed_records() {
        for data in [
            &b"path=a\n"[..],
            b"8 path=a\n",
            b"11 path=a\n",
            b"+9 path=a\n",
            b"0 path=a\n",
            b"99999999999999999999 path=a\n",
            b"5 abc\n",
            b"4 =\n\n",
            b"9 path=\0\n",
        ] {
            assert!(records(data).is_err(), "{}", data.escape_ascii());
        }
    }

    #[test]
    fn times() {
        let at = |seconds, nanoseconds| Some(Timestamp { seconds, nanoseconds });
        for (text, expected) in [
            ("0", at(0, 0)),
            ("1700000000.123456789", at(1_700_000_000, 123_456_789)),
            ("1.1234567899", at(1, 123_456_789)),
            ("-1.5", at(-2, 500_000_000)),
            ("-86400", at(-86_400, 0)),
            ("1.", at(1, 0)),
            ("nan", None),
            ("1e9", None),
            ("", None),
            ("--1", None),
            ("9999999999999999999", None),
            ("9223372036854775807.5", at(i64::MAX, 500_000_000)),
            ("-9223372036854775808", at(i64::MIN, 0)),
            ("-9223372036854775808.5", None),
            ("-0.5", at(-1, 500_000_000)),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }
}
