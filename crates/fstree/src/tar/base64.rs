//! Base64 of RFC 4648, as libarchive writes attributes.

use super::Fault;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes of a text with or without padding.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, Fault> {
    let fault = Fault::Pax { what: "an attribute that is not base64" };
    let text: &[u8] = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    for &letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(fault),
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff).to_le_bytes()[0]);
        }
    }
    if count == 6 { Err(fault) } else { Ok(bytes) }
}

/// The text of bytes, without padding, as libarchive writes it.
pub(super) fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| usize::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letters = [18, 12, 6, 0].map(|shift| LETTERS[bits >> shift & 0x3f]);
        text.extend_from_slice(&letters[..=group.len()]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (bytes, text) in [(&b""[..], &b""[..]), (b"a", b"YQ"), (b"ab", b"YWI"), (b"\x00\xff\nbin", b"AP8KYmlu")] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
        }
        assert_eq!(decode(b"YQ==").unwrap(), b"a");
        assert!(decode(b"Y").is_err() && decode(b"Y-==").is_err());
    }
}
