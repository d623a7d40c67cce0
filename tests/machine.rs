//! A virtual machine under QEMU's software emulation, with Debian's kernel and disks of ours.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{cache, made_once, run};

/// The modules that a disk needs, in the order in which they need each other; the rest is in the kernel.
const MODULES: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"];

/// What the kernel runs. When it ends early, by a command that fails, the kernel panics, and with that the machine ends.
const INIT: &str = "#!/bin/busybox sh
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
. /script
reboot -f
";

/// What programs a machine needs.
pub const MACHINE_TOOLS: [&str; 7] = ["qemu-system-x86_64", "busybox", "cpio", "ldd", "apt-get", "apt-cache", "dpkg"];

/// Boots a machine whose disks are the files `disks` (`/dev/vda` and so on), runs `script` in it with the shell and the commands of busybox and with
/// the programs `tools` of this host, and gives what its console said. A command of the script that fails ends the machine.
///
/// # Panics
/// When it can't be started, or has not ended after `limit`; the console is in the message.
#[must_use]
pub fn machine(disks: &[&Path], tools: &[&str], script: &str, limit: Duration) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let (initrd, console) = (scratch.path().join("initrd"), scratch.path().join("console"));
    let kernel = kernel();
    pack(&scratch.path().join("root"), &kernel, tools, script, &initrd);
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-m", "512", "-display", "none", "-monitor", "none", "-no-reboot", "-serial", "stdio"]);
    // On a busy host the emulated timer is late, and the kernel would take it for broken.
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]).arg("-kernel").arg(kernel.join("vmlinuz"));
    qemu.arg("-initrd").arg(&initrd);
    for disk in disks {
        // Nobody cuts this host's power: what the guest flushes need not reach the disk.
        qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()));
    }
    let output = File::create(&console).unwrap();
    qemu.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut guest = Guest(qemu.spawn().unwrap());
    let ended = guest.ends_within(limit);
    let said = String::from_utf8_lossy(&fs::read(&console).unwrap()).replace('\r', "");
    assert!(ended, "the machine has not ended after {} s:\n{said}", limit.as_secs());
    said
}

/// A running machine; killed when dropped.
struct Guest(Child);

impl Guest {
    fn ends_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // One that has ended already can't be killed, and is waited for all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with `vmlinuz` and the modules, from Debian's package; fetched once.
fn kernel() -> PathBuf {
    made_once("machine", fetch_kernel)
}

fn fetch_kernel(dir: &Path) {
    let scratch = tempfile::tempdir_in(cache()).unwrap();
    let depends = || Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]).output().unwrap();
    let mut found = depends();
    if !found.status.success() {
        // The lists of packages are not there: nothing had to be installed.
        run(Command::new("apt-get").args(["update", "-qq"]));
        found = depends();
    }
    let said = String::from_utf8(found.stdout).unwrap();
    let package = said.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let package = package.expect("linux-image-cloud-amd64 depends on a kernel");
    run(Command::new("apt-get").arg("download").arg(format!("linux-image-{package}")).current_dir(&scratch));
    let files = fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().path());
    let archive = files.into_iter().find(|path| path.extension().is_some_and(|found| found == "deb")).unwrap();
    let unpacked = scratch.path().join("unpacked");
    run(Command::new("dpkg").arg("--extract").arg(archive).arg(&unpacked));
    fs::create_dir(dir).unwrap();
    fs::copy(unpacked.join("boot").join(format!("vmlinuz-{package}")), dir.join("vmlinuz")).unwrap();
    let drivers = unpacked.join("lib/modules").join(package).join("kernel/drivers");
    for module in MODULES {
        let name = format!("{module}.ko");
        let place = ["virtio", "block"].map(|folder| drivers.join(folder).join(&name));
        let found = place.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{package} has no {name}"));
        fs::copy(found, dir.join(name)).unwrap();
    }
}

/// Packs the first file system: busybox, the modules, `tools` with their libraries, the script.
fn pack(root: &Path, kernel: &Path, tools: &[&str], script: &str, initrd: &Path) {
    for folder in ["bin", "dev", "proc", "modules"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy(program("busybox"), root.join("bin/busybox")).unwrap();
    for module in MODULES {
        let name = format!("{module}.ko");
        fs::copy(kernel.join(&name), root.join("modules").join(name)).unwrap();
    }
    fs::write(root.join("modules/order"), MODULES.join(" ")).unwrap();
    for tool in tools {
        let path = program(tool);
        let said = run(Command::new("ldd").arg(&path)).stdout;
        let said = String::from_utf8(said).unwrap();
        let libraries = said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
        for file in libraries.chain([path]) {
            let place = root.join(file.strip_prefix("/").unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(&file, place).unwrap();
        }
    }
    fs::write(root.join("script"), script).unwrap();
    fs::write(root.join("init"), INIT).unwrap();
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
    let archive = File::create(initrd).unwrap();
    let script = "cd \"$1\" && find . | cpio --quiet -o -H newc";
    let packed = Command::new("sh").args(["-c", script, "pack"]).arg(root).stdout(archive).status().unwrap();
    assert!(packed.success(), "cpio: {packed}");
}

fn program(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let places = folders.map(|folder| Path::new(folder).join(name));
    places.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {name} in {folders:?}"))
}
