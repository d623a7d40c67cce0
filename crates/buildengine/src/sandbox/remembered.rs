//! Which runtime works here, remembered between builds: to find out takes a container, which not every build should pay.
//!
//! What is remembered counts as long as nothing has changed that it depends on: the programs, the kernel and its boot, the
//! control groups, what the operator allows, and the configuration that containers are given.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::bundle::{self, Host, Isolation};
use super::missing::Missing;
use super::runtime::OciRuntime;
use super::{Job, NetworkPolicy, StepDisk, User, cgroup};
use crate::limits::Limits;
use crate::scratch;

/// The file among the scratch directories.
const FILE: &str = "runtime.json";
/// What becomes it: one name for all, so that a build that dies over it leaves at most one.
const UNFINISHED: &str = "runtime.json.unfinished";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    runtime: OciRuntime,
}

/// Everything that the choice among `candidates` depends on, as 64 hexadecimal digits.
pub(super) fn key(candidates: &[PathBuf], allowed: &[Missing]) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut fields = vec![
        env!("CARGO_PKG_VERSION").to_owned(),
        read("/proc/sys/kernel/osrelease"),
        read("/proc/sys/kernel/random/boot_id"),
        rustix::process::geteuid().as_raw().to_string(),
        cgroup::lacking().unwrap_or_default(),
        format!("{allowed:?}"),
        sample(),
    ];
    for path in candidates {
        let (size, mtime) =
            fs::metadata(path).map(|data| (data.size(), (data.mtime(), data.mtime_nsec()))).unwrap_or_default();
        let path: String = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        fields.push(format!("{path} {size} {mtime:?}"));
    }
    let mut hash = Sha256::new();
    for field in fields {
        hash.update(u64::try_from(field.len()).expect("usize fits in u64").to_le_bytes());
        hash.update(field);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The configuration of a container that stands for all.
fn sample() -> String {
    let job = Job {
        lowers: Vec::new(),
        disk: StepDisk::plain(Path::new("")),
        args: Vec::new(),
        env: Vec::new(),
        cwd: String::new(),
        user: User::default(),
        network: NetworkPolicy::none(),
        mounts: Vec::new(),
        limits: Limits::default(),
    };
    let here = Path::new("");
    let host = Host { rootfs: here, cgroup: "", egress: None, first_id: Some(0), sys: Some(here) };
    bundle::config(here, "", &job, &Isolation::full(), host).to_string()
}

/// The runtime that was found under the same key.
pub(super) fn read(scratch_root: &Path, key: &str) -> Option<OciRuntime> {
    // What can't be read, or is no record, is not remembered.
    let text = fs::read(scratch_root.join(FILE)).ok()?;
    serde_json::from_slice::<Record>(&text).ok().filter(|record| record.key == key).map(|record| record.runtime)
}

/// Remembers the runtime that was found.
///
/// # Errors
/// The file can't be written.
pub(super) fn write(scratch_root: &Path, key: &str, runtime: &OciRuntime) -> io::Result<()> {
    let record = Record { key: key.to_owned(), runtime: runtime.clone() };
    let _gate = scratch::gate(scratch_root)?;
    let unfinished = scratch_root.join(UNFINISHED);
    fs::write(&unfinished, serde_json::to_vec_pretty(&record)?)?;
    fs::rename(unfinished, scratch_root.join(FILE))
}

/// Forgets it: it did not work after all.
pub(super) fn forget(scratch_root: &Path) {
    // Where it can't be removed the next build fails as this one did, and says so.
    let _ = fs::remove_file(scratch_root.join(FILE));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_until_something_changes() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("runc");
        fs::write(&program, "1").unwrap();
        let runtime = OciRuntime { path: program.clone(), isolation: Isolation::full(), keeps: true };
        let key_now = || key(std::slice::from_ref(&program), &[]);
        let first = key_now();
        assert_eq!(first, key_now());
        assert!(read(root.path(), &first).is_none());
        write(root.path(), &first, &runtime).unwrap();
        assert_eq!(read(root.path(), &first).unwrap().path(), program);
        fs::write(&program, "22").unwrap();
        assert_ne!(first, key_now());
        assert!(read(root.path(), &key_now()).is_none());
        assert_ne!(key_now(), key(std::slice::from_ref(&program), &[Missing::Cgroups]));
        forget(root.path());
        assert!(read(root.path(), &first).is_none());
        fs::write(root.path().join(FILE), "{").unwrap();
        assert!(read(root.path(), &first).is_none());
    }
}
