//! The filter of one build's network, as nftables reads it (nft(8)).

use std::fmt::Write;
use std::net::IpAddr;

use super::addresses::Addresses;
use super::names::{Names, PREFIX};
use super::policy::NetworkPolicy;

/// What is never the outside (IANA special-purpose address registries), and services for virtual machines on public
/// addresses. 169.254.0.0/16 holds most metadata services, 100.64.0.0/10 and 192.0.0.0/24 one each.
const INTERNAL4: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // Azure's, for its machines.
    "168.63.129.16",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    // Other builds.
    super::addresses::RANGE4,
    // Multicast, reserved, broadcast.
    "224.0.0.0/3",
];
/// The same for IPv6; of the prefixes that carry an IPv4 address, the whole, or what carries an internal one.
const INTERNAL6: [&str; 12] = [
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::a00:0/104",
    "64:ff9b::7f00:0/104",
    "64:ff9b::a9fe:0/112",
    "64:ff9b::ac10:0/108",
    "64:ff9b::c0a8:0/112",
    "64:ff9b::6440:0/106",
    "64:ff9b:1::/48",
    "2002::/16",
    "fc00::/7",
    "fe80::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
/// Connections of one build at one moment: the host's table of them is everybody's.
const CONNECTIONS_MAX: u32 = 4_096;

/// What the filter is made of.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) names: &'a Names,
    pub(super) addresses: &'a Addresses,
    pub(super) policy: &'a NetworkPolicy,
    pub(super) resolvers: &'a [IpAddr],
    /// Family and interface of the host's that forward for builds alone.
    pub(super) guarded: &'a [(&'static str, String)],
}

impl Rules<'_> {
    /// The table.
    pub(super) fn text(&self) -> String {
        let Names { interface, table } = self.names;
        let (own, v4) = (format!("\"{interface}\""), self.addresses.v4);
        let (v6_source, v6_masquerade) = match self.addresses.v6 {
            Some(v6) => (format!("ip6 saddr != {v6} drop"), format!("ip6 saddr {v6} oifname != {own} masquerade")),
            None => ("meta nfproto ipv6 drop".to_owned(), String::new()),
        };
        let exceptions = self.exceptions();
        let guards: String = self.guarded.iter().fold(String::new(), |mut text, (family, name)| {
            let _ = writeln!(text, "    meta nfproto {family} iifname \"{name}\" oifname != \"{PREFIX}*\" drop");
            text
        });
        format!(
            "table inet {table} {{
  set internal4 {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {internal4} }} }}
  set internal6 {{ type ipv6_addr; flags interval; auto-merge; elements = {{ {internal6} }} }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != {own} accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
{exceptions}    jump refuse
  }}
  chain outward {{
    ip saddr != {v4} drop
    {v6_source}
    tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu
{exceptions}    ip daddr @internal4 jump refuse
    ip6 daddr @internal6 jump refuse
    ct state new ct count over {CONNECTIONS_MAX} jump refuse
    accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname {own} jump outward
    oifname {own} ct state established,related accept
    oifname {own} drop
{guards}  }}
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {v4} oifname != {own} masquerade
    {v6_masquerade}
  }}
}}
",
            internal4 = INTERNAL4.join(", "),
            internal6 = INTERNAL6.join(", "),
        )
    }

    /// The resolvers' port and what the operator allows.
    fn exceptions(&self) -> String {
        let family = |address: IpAddr| if address.is_ipv4() { "ip" } else { "ip6" };
        let resolvers =
            self.resolvers.iter().map(|address| format!("{} daddr {address} th dport 53 accept", family(*address)));
        let allowed = self.policy.allow.iter().map(|allowed| {
            let port = allowed.port().map(|port| format!(" th dport {port}")).unwrap_or_default();
            format!("{} daddr {}{port} accept", family(allowed.address()), allowed.range())
        });
        // `th` is the header of TCP as of UDP; what has other ports there has none.
        let protocols = |rule: String| {
            if rule.contains(" th dport ") {
                format!("    meta l4proto {{ tcp, udp }} {rule}\n")
            } else {
                format!("    {rule}\n")
            }
        };
        resolvers.chain(allowed).map(protocols).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn exceptions_come_before_what_they_except() {
        let policy = NetworkPolicy { allow: vec!["10.9.0.0/16:80".parse().unwrap()], ..NetworkPolicy::default() };
        let (names, addresses) = (Names::of(Path::new("/s/b")), Addresses::of(Path::new("/s/b"), 0));
        let resolvers = ["10.0.0.53".parse().unwrap(), "fd00::53".parse().unwrap()];
        let guarded = [("ipv4", "eth0".to_owned())];
        let rules =
            Rules { names: &names, addresses: &addresses, policy: &policy, resolvers: &resolvers, guarded: &guarded };
        let text = rules.text();
        let outward = &text[text.find("chain outward").unwrap()..];
        let at = |part: &str| outward.find(part).unwrap_or_else(|| panic!("no '{part}' in\n{outward}"));
        assert!(at("ip daddr 10.9.0.0/16 th dport 80 accept") < at("@internal4"));
        assert!(at("ip daddr 10.0.0.53 th dport 53 accept") < at("@internal4"));
        assert!(at("ip6 daddr fd00::53 th dport 53 accept") < at("@internal6"));
        assert!(at("ip saddr != 198.1") < at("th dport 53"));
        assert!(text.contains("meta nfproto ipv4 iifname \"eth0\" oifname != \"dd*\" drop"));
    }
}
