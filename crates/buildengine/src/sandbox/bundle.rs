//! The OCI bundle of one command: `config.json` (OCI runtime specification, config.md and config-linux.md).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::block_io;
use super::ids::IDS;
use super::network::{Egress, NetworkMode};
use super::{Job, JobMount};
use crate::error::Error;

/// What root may do inside: enough for package managers, nothing that reaches the host. Docker's default without
/// NET_RAW, MKNOD and AUDIT_WRITE.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// Parts of /proc and /sys that tell of the host.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    // What the processor draws tells what others compute (CVE-2020-8694).
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Parts of /proc that would change the host.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Files that a process may have open, and to how many it may raise that itself.
const OPEN_FILES: u64 = 1_024;
const OPEN_FILES_MAX: u64 = 524_288;
/// The name of the machine that commands see: one for all, so that it can't make two builds differ.
const HOSTNAME: &str = "drydock";

/// Which parts of the isolation this host can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Isolation {
    /// Memory and process limits.
    pub(crate) cgroups: bool,
    /// Ids of the step's own.
    pub(crate) user_namespaces: bool,
}

/// Where things of one container are on the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host<'a> {
    /// The root file system.
    pub(crate) rootfs: &'a Path,
    /// Path of the control group.
    pub(crate) cgroup: &'a str,
    /// The network that leads to the outside alone.
    pub(crate) egress: Option<&'a Egress>,
    /// The id that root of the container has; none without a user namespace.
    pub(crate) first_id: Option<u32>,
    /// What is shown as /sys; none where the runtime can mount one. A user namespace may mount that of its own network namespaces
    /// alone (`sysfs_init_fs_context`), not of the host's, to which the network of a build belongs.
    pub(crate) sys: Option<&'a Path>,
}

impl Isolation {
    /// All of it.
    pub(crate) fn full() -> Self {
        Self { cgroups: true, user_namespaces: true }
    }
}

/// Writes the bundle of `job` into `dir`: config.json and the files of the network.
pub(crate) fn write(dir: &Path, id: &str, job: &Job, isolation: &Isolation, host: Host<'_>) -> Result<(), Error> {
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        // Whoever the command runs as reads what is mounted of these, whatever the umask is here.
        let put = fs::write(&path, bytes).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)));
        put.map_err(|source| Error::Scratch { path, source })
    };
    put("hosts", format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n").as_bytes())?;
    // Without a network there is nobody to ask; without a file the C library says so as well.
    let resolvers = match (job.network.mode, host.egress) {
        (_, Some(egress)) => fs::read(egress.resolv_conf()),
        (NetworkMode::Host, None) => fs::read("/etc/resolv.conf"),
        (NetworkMode::None | NetworkMode::Egress, None) => Ok(Vec::new()),
    };
    put("resolv.conf", &resolvers.unwrap_or_default())?;
    let mut config = config(dir, id, job, isolation, host);
    if isolation.cgroups
        && let Some(limits) = block_io::limits(&job.limits, &[dir, job.disk.dir()])?
    {
        config["linux"]["resources"]["blockIO"] = limits;
    }
    put("config.json", &serde_json::to_vec_pretty(&config).expect("JSON values have string keys"))
}

/// config.json.
pub(super) fn config(dir: &Path, id: &str, job: &Job, isolation: &Isolation, host: Host<'_>) -> Value {
    // A user other than root has no capability of its own: programs with file capabilities still get theirs.
    let own: &[&str] = if job.user.uid == 0 { &CAPABILITIES } else { &[] };
    let mut linux = json!({
        "namespaces": namespaces(job.network.mode, host),
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
        "seccomp": seccomp(),
    });
    if isolation.cgroups {
        linux["cgroupsPath"] = json!(host.cgroup);
        linux["resources"] = resources(job);
    }
    if let Some(first) = host.first_id {
        let map = json!([{ "containerID": 0, "hostID": first, "size": IDS }]);
        (linux["uidMappings"], linux["gidMappings"]) = (map.clone(), map);
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "annotations": { "drydock.id": id },
        "root": { "path": host.rootfs, "readonly": false },
        "process": {
            "terminal": false,
            "user": { "uid": job.user.uid, "gid": job.user.gid, "additionalGids": job.user.additional_gids, "umask": 0o022 },
            "args": job.args,
            "env": job.env,
            "cwd": job.cwd,
            "capabilities": { "bounding": CAPABILITIES, "effective": own, "permitted": own, "inheritable": [], "ambient": [] },
            "rlimits": rlimits(),
        },
        "mounts": mounts(dir, job, host),
        "linux": linux,
    })
}

/// No core files, and the open files that most hosts give to a service (systemd.exec(5)), as far as this one may: programs
/// that close every file they could have open take forever where there can be a billion.
fn rlimits() -> Value {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(OPEN_FILES_MAX);
    let hard = most.min(OPEN_FILES_MAX);
    json!([
        { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 },
        { "type": "RLIMIT_NOFILE", "hard": hard, "soft": hard.min(OPEN_FILES) },
    ])
}

fn namespaces(mode: NetworkMode, host: Host<'_>) -> Value {
    let user = host.first_id.map(|_| "user");
    let new = ["pid", "ipc", "uts", "mount"].into_iter().chain(user).map(|kind| json!({ "type": kind }));
    let network = match (mode, host.egress) {
        (NetworkMode::Host, _) => None,
        (_, Some(egress)) => Some(json!({ "type": "network", "path": egress.namespace() })),
        (NetworkMode::None | NetworkMode::Egress, None) => Some(json!({ "type": "network" })),
    };
    new.chain(network).collect()
}

fn resources(job: &Job) -> Value {
    let mut resources =
        json!({ "pids": { "limit": job.limits.pids }, "devices": [{ "allow": false, "access": "rwm" }] });
    if let Some(bytes) = job.limits.memory_bytes {
        resources["memory"] = json!({ "limit": bytes, "swap": bytes });
    }
    resources
}

fn mounts(dir: &Path, job: &Job, host: Host<'_>) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let bind = |source: &Path, target: &str, read_only: bool| {
        let access = if read_only { "ro" } else { "rw" };
        json!({ "destination": target, "type": "bind", "source": source, "options": ["rbind", access, "nosuid", "nodev"] })
    };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        host.sys.map_or_else(
            || mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            // With all that the mount outside refuses: a user namespace can't allow it again (mount_namespaces(7)).
            |sys| json!({ "destination": "/sys", "type": "bind", "source": sys, "options": ["rbind", "ro", "nosuid", "noexec", "nodev"] }),
        ),
    ];
    for name in super::mountpoints::ETC_FILES {
        mounts.push(bind(&dir.join(name), &format!("/etc/{name}"), true));
    }
    for extra in &job.mounts {
        mounts.push(match extra {
            JobMount::Bind { source, target, read_only, .. } => bind(source, target, *read_only),
            JobMount::Tmpfs { target, size_bytes } => {
                let size = size_bytes.map(|bytes| format!("size={bytes}"));
                let options: Vec<&str> = ["nosuid", "nodev", "mode=1777"].into_iter().chain(size.as_deref()).collect();
                mount(target, "tmpfs", &options)
            }
        });
    }
    mounts
}

/// The system calls a command may make, as data beside this file.
fn seccomp() -> Value {
    let mut profile: Value =
        serde_json::from_str(include_str!("seccomp.json")).expect("seccomp.json is JSON: a test reads it");
    profile["architectures"] = match std::env::consts::ARCH {
        "x86_64" => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        "aarch64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        // The runtime then allows the native one alone.
        _ => json!([]),
    };
    profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::sandbox::{NetworkPolicy, StepDisk, User};

    fn job() -> Job {
        Job {
            lowers: vec![],
            disk: StepDisk::plain(Path::new("/scratch")),
            args: vec!["/bin/sh".to_owned(), "-c".to_owned(), "true".to_owned()],
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            user: User::default(),
            network: NetworkPolicy::none(),
            mounts: vec![JobMount::Tmpfs { target: "/t".to_owned(), size_bytes: Some(4096) }],
            limits: Limits { memory_bytes: Some(1 << 30), ..Limits::default() },
        }
    }

    fn config_of(job: &Job) -> Value {
        let rootfs = Path::new("/scratch/merged");
        let sys = Some(Path::new("/scratch/sys"));
        let host = Host { rootfs, cgroup: "/drydock/x", egress: None, first_id: Some(4096), sys };
        config(Path::new("/scratch"), "x", job, &Isolation::full(), host)
    }

    #[test]
    fn the_schema_of_the_specification_reads_it() {
        let spec: oci_spec::runtime::Spec = serde_json::from_value(config_of(&job())).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.args().as_ref().unwrap()[2], "true");
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.resources().as_ref().unwrap().pids().as_ref().unwrap().limit(), 4_096);
        assert!(linux.seccomp().is_some());
        let map = &linux.uid_mappings().as_ref().unwrap()[0];
        assert_eq!((map.container_id(), map.host_id(), map.size()), (0, 4096, IDS));
        assert!(
            linux
                .namespaces()
                .as_ref()
                .unwrap()
                .iter()
                .any(|n| n.typ() == oci_spec::runtime::LinuxNamespaceType::Network)
        );
    }

    #[test]
    fn dangerous_system_calls_are_not_on_the_list() {
        let spec: oci_spec::runtime::Spec = serde_json::from_value(config_of(&job())).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        let seccomp = linux.seccomp().as_ref().unwrap();
        let allowed: Vec<&String> = seccomp.syscalls().as_ref().unwrap().iter().flat_map(|rule| rule.names()).collect();
        // socketcall of 32-bit programs hides from the filter which family of sockets it is asked for.
        for name in [
            "mount",
            "bpf",
            "kexec_load",
            "init_module",
            "open_by_handle_at",
            "userfaultfd",
            "keyctl",
            "setns",
            "unshare",
            "socketcall",
        ] {
            assert!(!allowed.iter().any(|allowed| *allowed == name), "{name}");
        }
        for name in ["openat", "execve", "clone", "chroot", "rename"] {
            assert!(allowed.iter().any(|allowed| *allowed == name), "{name}");
        }
    }

    #[test]
    fn a_user_other_than_root_has_no_capabilities_of_its_own() {
        let mut job = job();
        job.user.uid = 1000;
        let config = config_of(&job);
        assert_eq!(config["process"]["capabilities"]["effective"], json!([]));
        assert_ne!(config["process"]["capabilities"]["bounding"], json!([]));
    }

    #[test]
    fn the_host_network_is_the_absence_of_a_namespace() {
        let mut job = job();
        job.network.mode = NetworkMode::Host;
        let config = config_of(&job);
        assert!(!config["linux"]["namespaces"].to_string().contains("network"));
    }
}
