//! The network of commands: none, the host's, or one of the build's own from which the outside can be reached and nothing
//! else (`egress`).
//!
//! ```text
//!   network namespace of the build                         host
//!   eth0: 198.18.x.y/32, fd64:…/128  ──veth──  dd…: forward ──▶ not to internal addresses ──▶ masqueraded ──▶ the outside
//!                                                   input   ──▶ refused
//! ```
//!
//! The filter is on the host's side of the pair: no privilege inside, and no runtime that brings its own network stack,
//! gets around it. Everything is made by `ip` and `nft`, is named after the scratch directory of the build
//! ([`names`]), and is taken down by its path alone, so that what a killed build left is found.

mod addresses;
mod forwarding;
mod names;
mod policy;
mod resolver;
mod rules;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::mount::{MountFlags, mount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use self::addresses::Addresses;
use self::names::Names;
use super::runtime::{runtime_command, wait};
use crate::error::Error;

pub use policy::{AllowedAddress, NetworkMode, NetworkPolicy};

/// The directory of a network in the scratch directory of its build.
const DIRECTORY: &str = "network";
/// What the host's end of each pair is called by commands: a router that answers nothing. Link-local, so that it is no
/// address of anybody's (RFC 3927; RFC 4291, 2.5.6).
const GATEWAY4: &str = "169.254.1.1";
const GATEWAY6: &str = "fe80::1";
/// How many addresses are tried before the host is taken to be full of builds.
const ATTEMPTS: u32 = 8;

/// The network namespace of a build, ready for commands.
#[derive(Debug)]
pub(crate) struct Egress {
    dir: PathBuf,
}

impl Egress {
    /// The network of the build at `scratch`: made for the first command that wants it, the same for those that follow.
    ///
    /// # Errors
    /// The host lacks a program, a right or a resolver; the error says what to do.
    pub(crate) fn of_build(scratch: &Path, policy: &NetworkPolicy) -> Result<Self, Error> {
        let network = Self { dir: scratch.join(DIRECTORY) };
        if !network.dir.exists() {
            network.make(scratch, policy)?;
        }
        Ok(network)
    }

    /// The namespace, as a path for config.json.
    pub(crate) fn namespace(&self) -> PathBuf {
        self.dir.join("namespace")
    }

    /// /sys as this network shows it. A user namespace can't mount its own over a network namespace of the host's.
    pub(crate) fn sysfs(&self) -> PathBuf {
        self.dir.join("sysfs")
    }

    /// The file for /etc/resolv.conf.
    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.dir.join("resolv.conf")
    }

    fn make(&self, scratch: &Path, policy: &NetworkPolicy) -> Result<(), Error> {
        let resolvers = resolver::find(&policy.dns)?;
        let names = Names::of(scratch);
        for attempt in 0..ATTEMPTS {
            fs::create_dir_all(&self.dir).map_err(|source| Error::Scratch { path: self.dir.clone(), source })?;
            self.put("resolv.conf", &resolvers.text())?;
            let made = self.attempt(&names, Addresses::of(scratch, attempt), policy, &resolvers.addresses);
            match made {
                Err(Error::Network { why, .. }) if why.contains("File exists") => tear_down(scratch)?,
                Err(error) => {
                    // Why it could not be made says more than what could not be taken down of it.
                    let _ = tear_down(scratch);
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
        Err(failed(format!("no address of {} is free", addresses::RANGE4), "end some of the builds on this host"))
    }

    fn attempt(
        &self,
        names: &Names,
        addresses: Addresses,
        policy: &NetworkPolicy,
        resolvers: &[IpAddr],
    ) -> Result<(), Error> {
        let forwarding = forwarding::begin()?;
        let addresses = if forwarding.ipv6 { addresses } else { addresses.without_ipv6() };
        self.make_namespace()?;
        // The rules name the interface, so that they stand before it does, and before the host forwards anything.
        let guarded = &forwarding.guarded;
        let rules = rules::Rules { names, addresses: &addresses, policy, resolvers, guarded };
        self.call("nft", "-f", "rules.nft", &rules.text())?;
        forwarding.turn_on()?;
        self.call_inside("inside.ip", &inside(names, &addresses))?;
        forwarding.allow(&names.interface)?;
        self.call("ip", "-batch", "outside.ip", &outside(names, &addresses))
    }

    /// A namespace without a process, held by a mount: it ends when the mount and the last process in it have.
    fn make_namespace(&self) -> Result<(), Error> {
        let path = self.namespace();
        self.put("namespace", "")?;
        let mut option = std::ffi::OsString::from("--net=");
        option.push(&path);
        run(runtime_command(Path::new("unshare")).arg(option).arg("true"))
    }

    /// `ip` in the namespace, which also gets the settings that Docker gives to its own: any user may bind any port and ping.
    fn call_inside(&self, name: &str, batch: &str) -> Result<(), Error> {
        self.put(name, batch)?;
        let sysfs = self.sysfs();
        fs::create_dir(&sysfs).map_err(|source| Error::Scratch { path: sysfs.clone(), source })?;
        let namespace = fs::File::open(self.namespace());
        let namespace = namespace.map_err(|source| Error::Scratch { path: self.namespace(), source })?;
        let inside = || {
            let entered =
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network));
            entered.map_err(|errno| failed(format!("can't enter a network namespace: {errno}"), NEEDS_ROOT))?;
            for (setting, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
                forwarding::write(&format!("/proc/sys/net/ipv4/{setting}"), value)?;
            }
            let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("sysfs", &sysfs, "sysfs", flags, None)
                .map_err(|errno| Error::Mount { target: sysfs.clone(), source: errno.into() })?;
            run(runtime_command(Path::new("ip")).arg("-batch").arg(self.dir.join(name)))
        };
        // A thread of its own, since a thread can't be told apart from its process afterwards.
        thread::scope(|scope| scope.spawn(inside).join().expect("it does not panic"))
    }

    fn call(&self, name: &str, option: &str, file: &str, text: &str) -> Result<(), Error> {
        self.put(file, text)?;
        run(runtime_command(Path::new(name)).arg(option).arg(self.dir.join(file)))
    }

    fn put(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(|source| Error::Scratch { path, source })
    }
}

/// Takes down the network of the build at `scratch`, if it has one; the mounts below it are left to who ends mounts.
///
/// # Errors
/// Something of it is there and can't be removed.
pub(crate) fn tear_down(scratch: &Path) -> Result<(), Error> {
    let dir = scratch.join(DIRECTORY);
    if !dir.exists() {
        return Ok(());
    }
    let names = Names::of(scratch);
    // The interface before the filter: at no moment is there one without the other.
    let link = remove("ip", &["link", "delete", &names.interface], "Cannot find device");
    let table = remove("nft", &["delete", "table", "inet", &names.table], "No such file or directory");
    super::overlay::unmount_below(&dir)?;
    fs::remove_dir_all(&dir).map_err(|source| Error::Scratch { path: dir, source })?;
    link.and(table)?;
    forwarding::end()
}

/// Runs a program that removes something; that it is not there is no error.
fn remove(name: &str, arguments: &[&str], absent: &str) -> Result<(), Error> {
    match run(runtime_command(Path::new(name)).args(arguments)) {
        Err(Error::Network { why, .. }) if why.contains(absent) => Ok(()),
        other => other,
    }
}

const NEEDS_ROOT: &str = "run as root with CAP_NET_ADMIN, or choose another network (--network none, or host)";
const NEEDS_PROGRAMS: &str =
    "install it (Debian: apt-get install iproute2 nftables), or choose another network (--network none, or host)";

fn failed(why: String, fix: &'static str) -> Error {
    Error::Network { why, fix }
}

fn run(command: &mut Command) -> Result<(), Error> {
    let path = PathBuf::from(command.get_program());
    match wait(command, &path) {
        Ok(answer) if answer.success => Ok(()),
        Ok(answer) => Err(failed(format!("{} said: {}", path.display(), answer.stderr), NEEDS_ROOT)),
        Err(Error::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(failed(format!("there is no program {}", path.display()), NEEDS_PROGRAMS))
        }
        Err(error) => Err(error),
    }
}

/// What `ip` does in the namespace of the build.
fn inside(names: &Names, addresses: &Addresses) -> String {
    let (interface, host) = (&names.interface, std::process::id());
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("link add eth0 type veth peer name {interface} netns {host}"),
        "link set eth0 addrgenmode none".to_owned(),
        "link set eth0 up".to_owned(),
        format!("address add {}/32 dev eth0", addresses.v4),
        format!("route add {GATEWAY4} dev eth0"),
        format!("route add default via {GATEWAY4} dev eth0"),
    ];
    if let Some(v6) = addresses.v6 {
        lines.push(format!("address add {v6}/128 dev eth0 nodad"));
        lines.push(format!("route add default via {GATEWAY6} dev eth0"));
    }
    lines.join("\n") + "\n"
}

/// What `ip` does on the host. A route that is there already is another build's: that is how addresses are shared out.
fn outside(names: &Names, addresses: &Addresses) -> String {
    let interface = &names.interface;
    let mut lines = vec![
        format!("link set {interface} addrgenmode none"),
        format!("address add {GATEWAY4}/32 dev {interface}"),
        format!("link set {interface} up"),
        format!("route add {}/32 dev {interface}", addresses.v4),
    ];
    if let Some(v6) = addresses.v6 {
        lines.push(format!("address add {GATEWAY6}/64 dev {interface} nodad"));
        lines.push(format!("route add {v6}/128 dev {interface}"));
    }
    lines.join("\n") + "\n"
}
