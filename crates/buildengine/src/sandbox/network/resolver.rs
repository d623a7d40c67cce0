//! Who answers a build's questions about names.
//!
//! A build asks the resolvers of the host itself, on port 53 and nothing else of theirs, also where their addresses are
//! internal. One that listens on the host's loopback can't be reached from another network namespace: of systemd-resolved the
//! servers behind it are taken (`/run/systemd/resolve/resolv.conf`, resolved's own documentation); for others the operator
//! names a server. Search domains are left out: a build finds the same names on every host.

use std::net::IpAddr;

use crate::error::Error;
use crate::sandbox::lossy;

/// Read in this order; the first with a usable server counts.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// As many as the C library asks (resolv.conf(5), MAXNS).
const RESOLVERS_MAX: usize = 3;

/// The resolvers of a build.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolvers {
    pub(super) addresses: Vec<IpAddr>,
}

impl Resolvers {
    /// resolv.conf(5).
    pub(super) fn text(&self) -> String {
        self.addresses.iter().map(|address| format!("nameserver {address}\n")).collect()
    }
}

/// Those that were asked for, else those of the host.
///
/// # Errors
/// The host has none that a build can reach.
pub(super) fn find(wanted: &[IpAddr]) -> Result<Resolvers, Error> {
    if !wanted.is_empty() {
        return Ok(Resolvers { addresses: wanted.iter().copied().take(RESOLVERS_MAX).collect() });
    }
    let files = FILES.iter().map(|path| servers(&lossy::text(path).unwrap_or_default()));
    let found = files.into_iter().find(|addresses| !addresses.is_empty());
    found.map(|addresses| Resolvers { addresses }).ok_or_else(|| {
        super::failed(
            format!("no file of {} names a resolver that a build can reach", FILES.join(", ")),
            "name one with --dns ADDRESS, or choose another network (--network none, or host)",
        )
    })
}

/// The servers of a resolv.conf that are not on the loopback.
fn servers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    addresses.filter(|address| !address.is_loopback() && !address.is_unspecified()).take(RESOLVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_the_loopback_do_not_count() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch corp\n nameserver\tfd00::1\nnameserver ::1\nnameserver x\n";
        assert_eq!(servers(text), ["10.0.0.2".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        assert_eq!(servers(&"nameserver 9.9.9.9\n".repeat(9)).len(), 3);
        let wanted = find(&["10.1.1.1".parse().unwrap()]).unwrap();
        assert_eq!(wanted.text(), "nameserver 10.1.1.1\n");
    }
}
