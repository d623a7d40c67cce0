//! Sizes as people write them.

use drydock::{BlockSize, ImageSize};

/// What `auto` leaves free.
const HEADROOM_BYTES: u64 = 64 << 20;

/// The units of a size: binary ones, and the bare letters that tools of this field take for them.
const UNITS: [(&str, u32); 12] = [
    ("KiB", 10),
    ("MiB", 20),
    ("GiB", 30),
    ("TiB", 40),
    ("K", 10),
    ("M", 20),
    ("G", 30),
    ("T", 40),
    ("k", 10),
    ("m", 20),
    ("g", 30),
    ("B", 0),
];

/// A number of bytes: `1048576`, `512MiB`, `1G`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) =
        UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = if all_digits { digits.parse::<u64>().ok() } else { None };
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| {
        format!("'{text}' is not a size; write bytes or a number with KiB, MiB, GiB or TiB, as in 512MiB")
    })
}

/// The size of a block of ext4.
pub(crate) fn parse_block_size(text: &str) -> Result<BlockSize, String> {
    BlockSize::of_bytes(parse_bytes(text)?).ok_or_else(|| "a block has 1KiB, 2KiB or 4KiB".to_owned())
}

/// The size of an image: a number of bytes or `auto`.
pub(crate) fn parse_size(text: &str) -> Result<ImageSize, String> {
    if text == "auto" {
        Ok(ImageSize::Auto { headroom_bytes: HEADROOM_BYTES })
    } else {
        parse_bytes(text).map(ImageSize::Exact)
    }
}

/// A number of bytes for people: the largest binary unit that leaves at least one.
pub(crate) fn display_bytes(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift {
            let tenths = (u128::from(bytes) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("512MiB", 512 << 20), ("1GiB", 1 << 30), ("2g", 2 << 30), ("7B", 7)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1 GiB", "1XB", "99999999999999999999", "99999999999TiB", "+1"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_people() {
        assert_eq!(display_bytes(1_073_741_824), "1.0 GiB");
        assert_eq!(display_bytes(1_572_864), "1.5 MiB");
        assert_eq!(display_bytes(12), "12 B");
        assert_eq!(display_bytes(u64::MAX), "17179869183.9 GiB");
    }
}
