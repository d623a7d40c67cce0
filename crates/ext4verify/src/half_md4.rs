//! The hash of names in an indexed directory (Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories"): MD4's
//! functions (RFC 1320) over half of its words.

/// The major hash, as it stands in an index; its lowest bit is not of it.
pub(crate) fn major(name: &[u8], seed: [u32; 4], signed: bool) -> u32 {
    let mut state = if seed == [0; 4] { [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476] } else { seed };
    let mut left = name;
    while !left.is_empty() {
        transform(&mut state, &block(left, signed));
        left = &left[left.len().min(32)..];
    }
    match state[1] & !1 {
        // The end of a directory has this one.
        0xffff_fffe => 0xffff_fffc,
        hash => hash,
    }
}

/// Eight words of a name. What is missing is filled with its length, four times over.
fn block(name: &[u8], signed: bool) -> [u32; 8] {
    let fill = u32::from(name.len().to_le_bytes()[0]).wrapping_mul(0x0101_0101);
    let mut words = [fill; 8];
    for (at, &byte) in name.iter().take(32).enumerate() {
        let letter = if signed { i32::from(byte.cast_signed()).cast_unsigned() } else { u32::from(byte) };
        let word = &mut words[at / 4];
        *word = (*word << 8).wrapping_add(letter);
    }
    words
}

fn transform(state: &mut [u32; 4], words: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (|x, y, z| (x & y) | (!x & z), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y) | (x & z) | (y & z), 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in ROUNDS {
        for (step, &word) in order.iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(words[word]).wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (old, new) in state.iter_mut().zip([a, b, c, d]) {
        *old = old.wrapping_add(new);
    }
}
