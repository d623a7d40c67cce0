//! Forwarding between the builds' interfaces and the host's: on while there are builds, as it was found afterwards.
//!
//! A host that forwards already is left alone. Else forwarding is turned on for the interfaces that have routes, and for no
//! others; what was changed is written down below `/run/drydock` first, and the rules of every build see to it that what
//! comes in on such an interface goes to builds alone, so that the host routes no more for others than before. Who takes the
//! last interface of a build down puts back what is written down. IPv6 has a switch of its own for each interface since
//! Linux 6.17 (`force_forwarding`); before, the one for all would end router advertisements on the host, so that builds then
//! have IPv6 only where the host forwards it already (kernel documentation, networking/ip-sysctl).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::names::PREFIX;
use crate::error::Error;
use crate::sandbox::lossy;

/// Where it is written down, one file for each network namespace.
const RECORDS: &str = "/run/drydock";
const IPV4: &str = "/proc/sys/net/ipv4/conf";
const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// Forwarding as one build needs it. While this lives no other build is set up or taken down here.
#[derive(Debug)]
pub(super) struct Forwarding {
    record: File,
    /// What is off and has to be on; written down already.
    wanted: Vec<String>,
    /// Family, as nftables names it, and interface of what is turned on for builds, by this one or another.
    pub(super) guarded: Vec<(&'static str, String)>,
    /// Whether IPv6 is forwarded too.
    pub(super) ipv6: bool,
}

/// Finds out what has to be turned on and writes it down; [`Forwarding::turn_on`] does it, once the rules are there.
///
/// # Errors
/// It can't be written down.
pub(super) fn begin() -> Result<Forwarding, Error> {
    let mut forwarding = Forwarding { record: lock()?, wanted: Vec::new(), guarded: Vec::new(), ipv6: false };
    if !is_on(&format!("{IPV4}/all/forwarding")) {
        for interface in routed("/proc/net/route", 0, "lo") {
            forwarding.want(IPV4, &interface, "forwarding")?;
        }
    }
    let routed = routed("/proc/net/ipv6_route", 9, "lo");
    forwarding.ipv6 = is_on(&format!("{IPV6}/all/forwarding"));
    let has_switch = |interface: &String| Path::new(&format!("{IPV6}/{interface}/force_forwarding")).exists();
    if !forwarding.ipv6 && !routed.is_empty() && routed.iter().all(has_switch) {
        for interface in &routed {
            forwarding.want(IPV6, interface, "force_forwarding")?;
        }
        forwarding.ipv6 = true;
    }
    forwarding.guarded = recorded()?.iter().filter_map(|path| guarded(path)).collect();
    Ok(forwarding)
}

impl Forwarding {
    fn want(&mut self, family: &str, interface: &str, setting: &str) -> Result<(), Error> {
        let path = format!("{family}/{interface}/{setting}");
        if is_on(&path) {
            return Ok(());
        }
        writeln!(self.record, "{path}")
            .and_then(|()| self.record.sync_data())
            .map_err(|error| unusable(&path, &error))?;
        self.wanted.push(path);
        Ok(())
    }

    /// Turns on what is off. The rules that keep strangers out have to be there.
    ///
    /// # Errors
    /// The settings can't be changed.
    pub(super) fn turn_on(&self) -> Result<(), Error> {
        self.wanted.iter().try_for_each(|path| write(path, "1"))
    }

    /// Lets a build's own interface forward, and take nobody's word for anything.
    ///
    /// # Errors
    /// The settings can't be changed.
    pub(super) fn allow(&self, interface: &str) -> Result<(), Error> {
        write(&format!("{IPV4}/{interface}/forwarding"), "1")?;
        write(&format!("{IPV4}/{interface}/rp_filter"), "1")?;
        if self.ipv6 {
            write(&format!("{IPV6}/{interface}/accept_ra"), "0")?;
            let switch = format!("{IPV6}/{interface}/force_forwarding");
            if Path::new(&switch).exists() {
                write(&switch, "1")?;
            }
        }
        Ok(())
    }
}

/// Puts back what was changed, when no build has an interface any more.
///
/// # Errors
/// The settings can't be changed.
pub(super) fn end() -> Result<(), Error> {
    let _record = lock()?;
    let interfaces = fs::read_dir(IPV4).map_err(|error| unusable(IPV4, &error))?;
    let mut names = interfaces.flatten().map(|entry| entry.file_name());
    if names.any(|name| name.to_string_lossy().starts_with(PREFIX)) {
        return Ok(());
    }
    for path in recorded()? {
        // An interface that went away took its settings along.
        if Path::new(&path).exists() {
            write(&path, "0")?;
        }
    }
    record_path().and_then(fs::remove_file).map_err(|error| unusable(RECORDS, &error))
}

/// Writes a setting of the kernel.
pub(super) fn write(path: &str, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(|error| unusable(path, &error))
}

fn unusable(path: &str, error: &io::Error) -> Error {
    super::failed(format!("can't change {path}: {error}"), super::NEEDS_ROOT)
}

fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|value| value.trim() != "0")
}

fn record_path() -> io::Result<String> {
    let namespace = fs::read_link("/proc/self/ns/net")?;
    let number: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    Ok(format!("{RECORDS}/forwarding-{number}"))
}

/// Opens and locks the record. Whoever held it before may have removed it, and then it is nobody's lock any more.
fn lock() -> Result<File, Error> {
    let open = || {
        fs::create_dir_all(RECORDS)?;
        loop {
            let file = File::options().append(true).create(true).open(record_path()?)?;
            flock(&file, FlockOperation::LockExclusive)?;
            if file.metadata()?.nlink() > 0 {
                return io::Result::Ok(file);
            }
        }
    };
    open().map_err(|error| unusable(RECORDS, &error))
}

/// The settings that were written down; only such as this module writes.
fn recorded() -> Result<Vec<String>, Error> {
    let text = record_path().and_then(fs::read_to_string).map_err(|error| unusable(RECORDS, &error))?;
    Ok(text.lines().filter(|path| guarded(path).is_some()).map(str::to_owned).collect())
}

/// Family and interface of a setting.
fn guarded(path: &str) -> Option<(&'static str, String)> {
    let (family, rest) = match path.strip_prefix(IPV4) {
        Some(rest) => ("ipv4", rest),
        None => ("ipv6", path.strip_prefix(IPV6)?),
    };
    let interface = rest.strip_prefix('/')?.split_once('/')?.0;
    Some((family, interface.to_owned()))
}

/// The interfaces in a table of routes, each once, but for `except` and those of builds.
fn routed(table: &str, column: usize, except: &str) -> Vec<String> {
    let text = lossy::text(table).unwrap_or_default();
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(column))
        .filter(|name| *name != except && !name.starts_with(PREFIX))
        // A quote would end the name in the rules.
        .filter(|name| !name.contains(['"', '\\', '/']) && Path::new(IPV4).join(name).exists())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}
