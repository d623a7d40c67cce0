//! The ports of `EXPOSE`: `80`, `80/udp`, `8000-8010`, and the `ip:host:container` form that BuildKit still takes.

use std::net::IpAddr;

/// Ports of one argument: a range of numbers and a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub start: u16,
    /// Last port, at or after the first.
    pub end: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Protocol,
    /// The protocol was not in small letters.
    pub odd_casing: bool,
    /// An address or a host port was given, which means nothing in an image.
    pub maps_host: bool,
}

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name in the image's config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// Why a text is not a port. `Display` is BuildKit's wording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Nothing where the port should be.
    #[error("invalid port: {0}: no port specified")]
    Missing(String),
    /// A protocol other than TCP, UDP and SCTP.
    #[error("invalid port: {argument}: invalid proto: {protocol}")]
    Protocol {
        /// The whole argument, quoted.
        argument: String,
        /// The protocol as written.
        protocol: String,
    },
    /// Not an IP address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// Not an IP address in brackets.
    #[error("invalid IP address {address}: {cause}")]
    BracketedAddress {
        /// The text.
        address: String,
        /// Go's words for its fault.
        cause: String,
    },
    /// Not a port or a range of ports from 0 to 65535.
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    /// The same on the host's side.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// Two ranges of different lengths.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    RangeLengths {
        /// The container's range.
        container: String,
        /// The host's.
        host: String,
    },
}

impl PortRange {
    /// Reads one argument of `EXPOSE`, already expanded.
    ///
    /// # Errors
    /// [`PortError`] says which part is wrong.
    pub fn parse(argument: &str) -> Result<Self, PortError> {
        let (address, host, container) = split_parts(argument);
        let (ports, protocol_text) = container.split_once('/').unwrap_or((container, ""));
        let quoted = || crate::goformat::quote(argument);
        if ports.is_empty() {
            return Err(PortError::Missing(quoted()));
        }
        let lower = crate::goformat::to_lower(protocol_text);
        let protocol = match lower.as_str() {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(PortError::Protocol { argument: quoted(), protocol: protocol_text.to_owned() }),
        };
        check_address(address)?;
        let (start, end) = parse_range(ports).ok_or_else(|| PortError::ContainerPort(ports.to_owned()))?;
        if !host.is_empty() {
            let (host_start, host_end) = parse_range(host).ok_or_else(|| PortError::HostPort(host.to_owned()))?;
            if end - start != host_end - host_start && start != end {
                return Err(PortError::RangeLengths { container: ports.to_owned(), host: host.to_owned() });
            }
        }
        let maps_host = !address.is_empty() || !host.is_empty();
        Ok(PortRange { start, end, protocol, odd_casing: lower != protocol_text, maps_host })
    }

    /// How many ports.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(self.end - self.start) + 1
    }

    /// The ports as the image's config spells them: `80/tcp`.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        (self.start..=self.end).map(|port| format!("{port}/{}", self.protocol.name()))
    }
}

/// Address, host port and container port; the address may itself have colons.
fn split_parts(argument: &str) -> (&str, &str, &str) {
    match argument.rsplit_once(':') {
        None => ("", "", argument),
        Some((rest, container)) => match rest.rsplit_once(':') {
            None => ("", rest, container),
            Some((address, host)) => (address, host, container),
        },
    }
}

fn check_address(address: &str) -> Result<(), PortError> {
    let bare = match address.strip_prefix('[') {
        Some(rest) => bracketed(address, rest)?,
        None => address,
    };
    // Go's parser takes no zone and no leading zeros, and neither does the standard library's.
    match bare.is_empty() || bare.parse::<IpAddr>().is_ok() {
        true => Ok(()),
        false => Err(PortError::Address(bare.to_owned())),
    }
}

/// What is between the brackets, which must close at the end.
fn bracketed<'t>(address: &str, rest: &'t str) -> Result<&'t str, PortError> {
    let cause = match rest.split_once(']') {
        None => "missing ']' in address",
        Some((inner, "")) if !inner.contains('[') => return Ok(inner),
        Some((_, after)) if after.starts_with(':') => "too many colons in address",
        Some((inner, "")) if inner.contains('[') => "unexpected '[' in address",
        Some(_) => "missing port in address",
    };
    let cause = format!("address {address}:: {cause}");
    Err(PortError::BracketedAddress { address: address.to_owned(), cause })
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (start_text, end_text) = text.split_once('-').unwrap_or((text, text));
    let start = parse_port(start_text)?;
    let end = parse_port(end_text)?;
    (start <= end).then_some((start, end))
}

/// Decimal, with an optional sign, as Go's `ParseInt` reads it.
fn parse_port(text: &str) -> Option<u16> {
    text.parse::<i64>().ok().and_then(|port| u16::try_from(port).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<(u16, u16, &'static str), String> {
        PortRange::parse(text).map(|r| (r.start, r.end, r.protocol.name())).map_err(|e| e.to_string())
    }

    #[test]
    fn ports_and_ranges() {
        for (text, ports) in [
            ("80", (80, 80, "tcp")),
            ("80/", (80, 80, "tcp")),
            ("80/UDP", (80, 80, "udp")),
            ("+80", (80, 80, "tcp")),
            ("0080", (80, 80, "tcp")),
            ("80-82/sctp", (80, 82, "sctp")),
            ("127.0.0.1:8080:80", (80, 80, "tcp")),
            ("[::1]:8080-8090:80", (80, 80, "tcp")),
            ("::1:8080:80", (80, 80, "tcp")),
            ("8080:80", (80, 80, "tcp")),
            (":80", (80, 80, "tcp")),
        ] {
            assert_eq!(range(text), Ok(ports), "{text}");
        }
    }

    #[test]
    fn faults_in_the_words_of_the_reference() {
        for (text, message) in [
            ("abc", "invalid containerPort: abc"),
            ("65536", "invalid containerPort: 65536"),
            ("82-80", "invalid containerPort: 82-80"),
            ("-1", "invalid containerPort: -1"),
            ("80/foo", "invalid port: \"80/foo\": invalid proto: foo"),
            ("/tcp", "invalid port: \"/tcp\": no port specified"),
            ("300.0.0.1:8080:80", "invalid IP address: 300.0.0.1"),
            ("x:80", "invalid hostPort: x"),
            ("8000-8002:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000-8002"),
        ] {
            assert_eq!(range(text), Err(message.to_owned()));
        }
    }
}
