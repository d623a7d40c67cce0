//! What the operator allows.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which network RUN steps have. `RUN --network=none` is honoured in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// A loopback device alone.
    None,
    /// A network of the build's own: the outside can be reached; the host, its networks and other builds can't.
    #[default]
    Egress,
    /// The network of the host, with everything that listens there.
    Host,
}

impl NetworkMode {
    /// The name, as it is written in options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Egress => "egress",
            Self::Host => "host",
        }
    }
}

impl FromStr for NetworkMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::None, Self::Egress, Self::Host].into_iter().find(|mode| mode.name() == text);
        known.ok_or_else(|| format!("a network is none, egress or host; '{text}' is none of them"))
    }
}

/// The network of RUN steps and its exceptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Which network.
    pub mode: NetworkMode,
    /// Internal addresses that `egress` lets steps reach all the same.
    pub allow: Vec<AllowedAddress>,
    /// The resolvers of steps with `egress`; those of the host if there are none.
    pub dns: Vec<IpAddr>,
}

impl NetworkPolicy {
    /// No network, for `RUN --network=none`.
    #[must_use]
    pub fn none() -> Self {
        Self { mode: NetworkMode::None, ..Self::default() }
    }
}

/// An internal address, or a range of them, that steps may reach: `10.1.2.3`, `10.1.0.0/16`, `10.1.2.3:8080`,
/// `[fd00::1]:443`, `fd00::/8`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowedAddress {
    address: IpAddr,
    /// How many leading bits count.
    prefix: u8,
    /// TCP and UDP port; every protocol without it.
    port: Option<u16>,
}

impl AllowedAddress {
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// The range in CIDR notation.
    pub(super) fn range(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for AllowedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.address) {
            (None, _) => write!(f, "{}", self.range()),
            (Some(port), IpAddr::V4(_)) => write!(f, "{}:{port}", self.range()),
            (Some(port), IpAddr::V6(_)) => write!(f, "[{}]:{port}", self.range()),
        }
    }
}

impl TryFrom<String> for AllowedAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AllowedAddress> for String {
    fn from(allowed: AllowedAddress) -> Self {
        allowed.to_string()
    }
}

impl FromStr for AllowedAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("an allowed address is ADDRESS[/BITS][:PORT], IPv6 with a port in brackets; '{text}': {why}")
        };
        let (range, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (range, after) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
                let port = after.strip_prefix(':');
                if port.is_none() && !after.is_empty() {
                    return Err(wrong("after the bracket comes a colon and a port"));
                }
                (range, port)
            }
            None if text.matches(':').count() == 1 => {
                let (range, port) = text.split_once(':').unwrap_or((text, ""));
                (range, Some(port))
            }
            None => (text, None),
        };
        let (address, bits) = range.split_once('/').map_or((range, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong("that is no IP address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            None => most,
            Some(bits) => {
                let bits = bits.parse().ok().filter(|bits| (1..=most).contains(bits));
                bits.ok_or_else(|| wrong(&format!("the bits are 1 to {most}")))?
            }
        };
        if !host_bits_are_zero(address, prefix) {
            return Err(wrong("bits behind the prefix are set"));
        }
        let number = |port: &str| port.parse().ok().filter(|&port| port > 0);
        let port = port.map(|port| number(port).ok_or_else(|| wrong("a port is 1 to 65535"))).transpose()?;
        Ok(Self { address, prefix, port })
    }
}

fn host_bits_are_zero(address: IpAddr, prefix: u8) -> bool {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_shl(prefix.into()).unwrap_or(0) == 0,
        IpAddr::V6(v6) => u128::from(v6).checked_shl(prefix.into()).unwrap_or(0) == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_addresses_are_read_and_written() {
        for (text, written) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.1.2.3:8080", "10.1.2.3/32:8080"),
            ("10.1.0.0/16:53", "10.1.0.0/16:53"),
            ("fd00::1", "fd00::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("[fd00::1]:443", "[fd00::1/128]:443"),
            ("[fd00::/8]", "fd00::/8"),
        ] {
            let allowed: AllowedAddress = text.parse().unwrap();
            assert_eq!(allowed.to_string(), written);
            assert_eq!(written.parse::<AllowedAddress>().unwrap(), allowed);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "x",
            "10.1.2",
            "10.1.2.3/33",
            "10.1.2.3/0",
            "0.0.0.0/0",
            "10.1.2.3/16",
            "10.1.2.3:0",
            "10.1.2.3:x",
            "10.1.2.3:70000",
            "[fd00::1",
            "[fd00::1]443",
            "fd00::1/129",
            "10.1.2.3; accept",
            "::/0",
            "example.com",
        ] {
            assert!(text.parse::<AllowedAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn modes_have_names() {
        for mode in [NetworkMode::None, NetworkMode::Egress, NetworkMode::Host] {
            assert_eq!(mode.name().parse(), Ok(mode));
        }
        assert!("bridge".parse::<NetworkMode>().is_err());
    }
}
