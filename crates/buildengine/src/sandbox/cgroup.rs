//! Names and remains of control groups: each state directory has one parent of its own, so that a sweep knows its own.
//!
//! ```text
//!   /drydock/<twelve digits of the hash of the scratch root>/<build>-<step>
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::scratch::Scratch;

/// The controllers that the limits of a step need.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// Where hierarchies are mounted (systemd's file hierarchy; cgroups(7)).
const MOUNTS: &str = "/sys/fs/cgroup";

/// The group of the container `id` of a build, below the root of each hierarchy.
pub(crate) fn name(scratch: &Scratch, id: &str) -> String {
    let build = scratch.path().file_name().unwrap_or_default().to_string_lossy();
    format!("{}/{build}-{id}", parent(scratch.root()))
}

/// The group in which those of one scratch root lie.
fn parent(root: &Path) -> String {
    format!("/drydock/{}", crate::scratch::root_id(root))
}

/// Why steps can't be limited here, if they can't: a controller that no hierarchy has.
pub(crate) fn lacking() -> Option<String> {
    let mounts = Path::new(MOUNTS);
    let with_version_2 = fs::read_to_string(mounts.join("cgroup.controllers")).unwrap_or_default();
    let is_there = |controller: &&str| {
        with_version_2.split_whitespace().any(|one| one == *controller)
            || mounts.join(controller).join("cgroup.procs").exists()
    };
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|controller| !is_there(controller)).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "no control groups below {MOUNTS} have {}; mount version 2, or version 1 with them",
            missing.join(" and ")
        )
    })
}

/// The groups of the build whose scratch directory that is, in every hierarchy.
pub(crate) fn of_build(scratch: &Path) -> Vec<PathBuf> {
    let (Some(root), Some(build)) = (scratch.parent(), scratch.file_name()) else { return Vec::new() };
    let prefix = format!("{}-", build.to_string_lossy());
    let parents = hierarchies().into_iter().map(|hierarchy| hierarchy.join(&parent(root)[1..]));
    let groups = parents.flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten());
    groups.filter(|group| group.file_name().to_string_lossy().starts_with(&prefix)).map(|group| group.path()).collect()
}

/// The processes in a group, as the host numbers them; `None` when no hierarchy has it.
pub(crate) fn processes(name: &str) -> Option<Vec<u32>> {
    let files = hierarchies().into_iter().map(|hierarchy| hierarchy.join(&name[1..]).join("cgroup.procs"));
    let lists: Vec<String> = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    let numbers = lists.iter().flat_map(|list| list.lines()).filter_map(|line| line.parse().ok());
    (!lists.is_empty()).then(|| numbers.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Removes the parent of a scratch root from each hierarchy where it is empty. Nobody may be about to make a group in it.
pub(crate) fn remove_parent(root: &Path) {
    for hierarchy in hierarchies() {
        // It is not there, or a group of somebody who still ends is in it: the next build removes it then.
        let _ = fs::remove_dir(hierarchy.join(&parent(root)[1..]));
    }
}

/// The root of every hierarchy: one for each controller with version 1, one for all with version 2.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = Path::new(MOUNTS);
    let below = fs::read_dir(mounts).into_iter().flatten().flatten();
    let directories = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    std::iter::once(mounts.to_owned()).chain(directories.map(|entry| entry.path())).collect()
}
