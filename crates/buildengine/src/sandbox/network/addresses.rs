//! Which address a build has. Nobody but the host ever sees it: what leaves the host is masqueraded.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The addresses of builds: a range that is on no network, since it is kept for benchmarks of routers (RFC 2544, C.2.2).
pub(super) const RANGE4: &str = "198.18.0.0/15";
/// And a unique local prefix (RFC 4193) of ours; the last 64 bits are the build's.
const PREFIX6: [u16; 4] = [0xfd64, 0x7264, 0x6b00, 0];

/// The addresses of one build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v4: Ipv4Addr,
    /// `None` where the host forwards no IPv6.
    pub(super) v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// Those to try at the `attempt`-th time for the build at `scratch`.
    pub(super) fn of(scratch: &Path, attempt: u32) -> Self {
        let hash = Sha256::new().chain_update(attempt.to_le_bytes()).chain_update(scratch.as_os_str().as_bytes());
        let hash = hash.finalize();
        let word = |at: usize| u16::from_be_bytes([hash[at], hash[at + 1]]);
        let [third, fourth] = word(0).to_be_bytes();
        let [a, b, c, d] = PREFIX6;
        Self {
            v4: Ipv4Addr::new(198, 18 + (hash[2] & 1), third, fourth),
            v6: Some(Ipv6Addr::new(a, b, c, d, word(4), word(6), word(8), word(10))),
        }
    }

    pub(super) fn without_ipv6(self) -> Self {
        Self { v6: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_their_ranges_and_differ() {
        let at = |path: &str, attempt| Addresses::of(Path::new(path), attempt);
        for attempt in 0..1_000 {
            let Addresses { v4, v6 } = at("/a", attempt);
            assert!(matches!(v4.octets(), [198, 18 | 19, ..]), "{v4}");
            assert_eq!(v6.unwrap().segments()[..4], PREFIX6);
        }
        assert_ne!(at("/a", 0), at("/a", 1));
        assert_ne!(at("/a", 0), at("/b", 0));
        assert_eq!(at("/a", 0), at("/a", 0));
    }
}
