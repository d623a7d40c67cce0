//! What a build may have left on the host: nothing.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::Digest;

/// Nothing of the builds of one state folder is left but what it keeps.
///
/// # Panics
/// When something is.
#[track_caller]
pub(crate) fn assert_nothing(state: &Path) {
    assert_eq!(of(state), Vec::<String>::new(), "nothing stays");
}

/// What is left: scratch folders, mounts, files behind loop devices, control groups.
pub(crate) fn of(state: &Path) -> Vec<String> {
    let paths = [scratch_of(state), cgroups_of(state)].concat();
    let paths = paths.iter().map(|path| path.display().to_string());
    paths.chain(mounts_of(state)).chain(loop_devices_of(state)).collect()
}

fn scratch_of(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state.join("scratch")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

fn mounts_of(state: &Path) -> Vec<String> {
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let mounts = String::from_utf8_lossy(&mounts);
    let ours =
        |line: &&str| line.contains(state.to_str().unwrap()) || line.contains(&format!("/run/drydock/{}/", id(state)));
    mounts.lines().filter(ours).map(str::to_owned).collect()
}

/// The files behind loop devices that lie in the state folder. A device may be given back a moment after its file system.
fn loop_devices_of(state: &Path) -> Vec<String> {
    let look = || {
        let devices = fs::read_dir("/sys/block").unwrap().flatten();
        let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
        files.filter(|file| file.starts_with(state.to_str().unwrap())).collect::<Vec<_>>()
    };
    for _ in 0..40 {
        if look().is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    look()
}

/// The control groups of the builds of one state folder, in every hierarchy.
pub(crate) fn cgroups_of(state: &Path) -> Vec<PathBuf> {
    let mounts = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(mounts).unwrap().map(|entry| entry.unwrap().path()).chain([mounts.to_owned()]);
    hierarchies.map(|hierarchy| hierarchy.join("drydock").join(id(state))).filter(|group| group.exists()).collect()
}

/// What names of the host carry that belong to one state folder.
fn id(state: &Path) -> String {
    let root = state.join("scratch");
    let root = root.canonicalize().unwrap_or(root);
    let hash = sha2::Sha256::digest(std::os::unix::ffi::OsStrExt::as_bytes(root.as_os_str()));
    hash[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}
