//! The hash that orders the entries of an indexed directory: half-MD4 over signed characters
//! (Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories").

/// Two rounds' additive constants of MD4 (RFC 1320); the first round has none.
const K2: u32 = 0x5A82_7999;
const K3: u32 = 0x6ED9_EBA1;
/// What MD4 starts from, used when the file system has no seed.
const INITIAL: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
/// The hash that stands for the end of a directory, so no name may have it.
const END_OF_DIRECTORY: u32 = 0xFFFF_FFFE;
/// Bytes of a name that one round of the hash takes.
const CHUNK: usize = 32;

/// The major hash of a name, its lowest bit clear.
pub(crate) fn hash(name: &[u8], seed: [u8; 16]) -> u32 {
    let mut state = start(seed);
    for at in (0..name.len()).step_by(CHUNK) {
        mix(&mut state, words(&name[at..]));
    }
    let hash = state[1] & !1;
    if hash == END_OF_DIRECTORY { END_OF_DIRECTORY - 2 } else { hash }
}

fn start(seed: [u8; 16]) -> [u32; 4] {
    if seed == [0; 16] {
        return INITIAL;
    }
    let (words, _) = seed.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

/// The next bytes of a name as eight words, padded with the length of what is left of the name.
fn words(name: &[u8]) -> [u32; 8] {
    let length = u32::from(crate::units::low_u8(crate::units::u64_of(name.len())));
    let pad = length | length << 8 | length << 16 | length << 24;
    let taken = &name[..name.len().min(CHUNK)];
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(taken.chunks(4)) {
        // Characters are signed and added, not combined: this is the arithmetic of the first kernels on x86.
        *word = bytes.iter().fold(pad, |word, &byte| {
            let character = i32::from(i8::from_ne_bytes([byte])).cast_unsigned();
            character.wrapping_add(word << 8)
        });
    }
    words
}

fn mix(state: &mut [u32; 4], input: [u32; 8]) {
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut s = *state;
    let mut step = |slot: usize, f: &dyn Fn(u32, u32, u32) -> u32, word: u32, shift: u32| {
        let [a, b, c, d] = std::array::from_fn(|i| s[(slot + i) % 4]);
        s[slot] = a.wrapping_add(f(b, c, d)).wrapping_add(word).rotate_left(shift);
    };
    // The slot written goes a, d, c, b and around again.
    let slots = [0, 3, 2, 1, 0, 3, 2, 1];
    for (i, &slot) in slots.iter().enumerate() {
        step(slot, &choose, input[i], [3, 7, 11, 19][i % 4]);
    }
    for (i, (&slot, word)) in slots.iter().zip([1, 3, 5, 7, 0, 2, 4, 6]).enumerate() {
        step(slot, &majority, input[word].wrapping_add(K2), [3, 5, 9, 13][i % 4]);
    }
    for (i, (&slot, word)) in slots.iter().zip([3, 7, 2, 6, 1, 5, 0, 4]).enumerate() {
        step(slot, &parity, input[word].wrapping_add(K3), [3, 9, 11, 15][i % 4]);
    }
    for (out, value) in state.iter_mut().zip(s) {
        *out = out.wrapping_add(value);
    }
}
