//! What a command sees at its end is what the image holds: the tree of the running container, listed from outside, beside that
//! of the finished image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use drydock_tests::{Entry, Mounted, base_image, cache, differences, drydock, fsck, list, list_without, privileged};

/// What the container has mounted over the image.
const MOUNTED: [&str; 6] = ["dev", "proc", "sys", "etc/hosts", "etc/resolv.conf", "sync"];
/// What the last command carries, so that it is found.
const MARKER: &str = "27182818";

/// Everything that a file system can hold and that a command may make, in two steps over a base. The last command waits in a
/// cache mount: what it does there is not in the image.
const DOCKERFILE: &str = r##"FROM base
RUN <<'EOF'
set -e
mkdir -p /w/a/b /w/many /w/empty /w/replaced
echo one >/w/one
: >/w/nothing
touch -d '1969-12-31 23:59:58.5' /w/before
touch -d '2150-01-01 00:00:00.999999999' /w/after
ln /w/one /w/a/two && ln /w/one /w/a/b/three
ln -s ../one /w/a/soft && ln -s /no/where /w/dangling && ln -s "$(printf %300s x)" /w/long
ln -s one /w/s1 && ln -P /w/s1 /w/s2
mkfifo /w/fifo && ln /w/fifo /w/fifo2
truncate -s 20M /w/holes && printf middle | dd of=/w/holes bs=1 seek=5000000 conv=notrunc status=none
truncate -s 5M /w/hole && { printf start; cat /dev/zero | head -c 100k; } >/w/zeros && truncate -s 3M /w/zeros
head -c 3000000 /dev/urandom >/w/large
cp /bin/true /w/setid && chmod 6755 /w/setid && chmod 000 /w/nothing && chown 1234:5678 /w/one
mkdir -m 1777 /w/sticky && mkdir -m 2750 /w/setgid && chown 7:8 /w/setgid
for n in $(seq 300); do echo $n >/w/many/$n; done
touch "/w/$(printf 'new\nline')" "/w/$(printf 'bad\377\376')" "/w/ä ö" "/w/$(printf %255s | tr ' ' y)"
perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("/w/socket")) or die'
cat >/w/attributes.pl <<'PERL'
my $setxattr = `dpkg --print-architecture` =~ /amd64/ ? 188 : 5;
sub set { my ($path, $name, $value) = @_; syscall($setxattr, $path, $name, $value, length $value, 0) == 0 or die "$path $name: $!" }
set("/w/one", "user.short", "x");
set("/w/one", "user.long", "y" x 1500);
set("/w/a", "user.directory", "\0binary\xff");
set("/w/setid", "security.capability", pack("V5", 0x02000001, 1 << 10, 0, 0, 0));
my @acl = (1, 6, -1, 2, 7, 1234, 4, 4, -1, 0x10, 7, -1, 0x20, 4, -1);
set("/w/large", "system.posix_acl_access", pack("V(vvl)5", 2, @acl));
set("/usr/bin/env", "user.of-the-base", "1");
PERL
perl /w/attributes.pl
rm -r /usr/share/doc && mkdir /usr/share/doc && echo new >/usr/share/doc/new
rm -r /var/cache/apt && echo file >/var/cache/apt
rm /etc/issue && mkdir /etc/issue && echo in >/etc/issue/in
mv /etc/skel /etc/skeleton && ln /usr/bin/perl /w/perl && echo more >>/etc/shells
chmod 700 /srv && chown 1:2 /opt && touch -d '2002-02-02' /usr/share
mkdir /w/gone && rmdir /w/gone && echo x >/w/gone && rm /w/gone
EOF
RUN --mount=type=cache,target=/sync <<'EOF'
set -e
: 27182818
rm /w/a/soft /w/many/7 && echo more >>/w/one && rm -r /w/replaced && mkdir /w/replaced && chmod 711 /w/a
mv /w/many /w/moved && rm -r /usr/share/doc && ln /w/a/two /w/a/b/four
mkdir /w/empty/now-full && touch -d '2003-03-03' /w /w/empty
echo ready >/sync/ready
while [ ! -e /sync/go ]; do sleep 0.1; done
EOF
"##;

/// A build under way; ended when the test fails.
struct Build(Child);

impl Drop for Build {
    fn drop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.0);
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            let _ = self.0.wait();
        }
    }
}

#[test]
fn the_tree_in_the_container_is_the_tree_in_the_image() {
    if !privileged(&["mmdebstrap", "runc", "e2fsck"]) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let (image, state) = (dir.path().join("image.ext4"), dir.path().join("state"));
    fs::write(dir.path().join("Dockerfile"), DOCKERFILE).unwrap();
    let mut command = Command::new(drydock());
    command
        .arg("build")
        .arg("-f")
        .arg(dir.path().join("Dockerfile"))
        .args(["--base", &format!("base={}", base_image())]);
    command.args(["--size", "auto", "-o"]).arg(&image).arg("--state").arg(&state);
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut build = Build(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
    let said = || fs::read_to_string(dir.path().join("log")).unwrap();

    let sync = until(&mut build, &said, || in_a_cache_mount(&state, "ready"));
    let seen = seen_by_the_command();
    fs::write(sync.with_file_name("go"), "").unwrap();
    let status = build.0.wait().unwrap();
    assert!(status.success(), "{}", said());

    fsck(&image);
    let kept = list(Mounted::new(&image, "ro").path());
    let (sockets, seen): (BTreeMap<_, _>, _) = seen.into_iter().partition(|(_, entry)| entry.kind == 's');
    assert_eq!(sockets.into_keys().collect::<Vec<_>>(), [Path::new("w/socket")], "a layer can't hold sockets");
    let left_out =
        |path: &Path| path == Path::new("lost+found") || MOUNTED.iter().any(|mounted| path.starts_with(mounted));
    let differences = differences(&seen, &kept, left_out);
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    for (path, attribute) in
        [("w/one", "user.long"), ("w/setid", "security.capability"), ("usr/bin/env", "user.of-the-base")]
    {
        assert!(kept[Path::new(path)].xattrs.contains_key(attribute.as_bytes()), "{path} has {attribute}");
    }
}

/// Waits for `found`, as long as the build lives.
fn until(build: &mut Build, said: &dyn Fn() -> String, found: impl Fn() -> Option<PathBuf>) -> PathBuf {
    let end = Instant::now() + Duration::from_secs(300);
    loop {
        if let Some(path) = found() {
            return path;
        }
        assert!(build.0.try_wait().unwrap().is_none() && Instant::now() < end, "{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn in_a_cache_mount(state: &Path, name: &str) -> Option<PathBuf> {
    let caches = fs::read_dir(state.join("cache-mounts")).ok()?;
    let mut files = caches.flatten().map(|cache| cache.path().join(name));
    files.find(|file| file.exists())
}

/// The tree as the command sees it, numbers of users as inside.
fn seen_by_the_command() -> BTreeMap<PathBuf, Entry> {
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
    let mut inside = processes.filter(|process| {
        let is_it = fs::read(process.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(MARKER));
        is_it && fs::read_link(process.join("ns/mnt")).is_ok_and(|namespace| namespace != own)
    });
    let process = inside.next().expect("the command runs");
    let mut seen = list_without(&process.join("root"), &MOUNTED);
    let (users, groups) = (numbers(&process.join("uid_map")), numbers(&process.join("gid_map")));
    for entry in seen.values_mut() {
        (entry.uid, entry.gid) = (users(entry.uid), groups(entry.gid));
        for (name, value) in &mut entry.xattrs {
            match name.as_slice() {
                b"system.posix_acl_access" | b"system.posix_acl_default" => translate_acl(value, &users, &groups),
                b"security.capability" => translate_capability(value, &users),
                _ => {}
            }
        }
    }
    seen
}

/// The ids in an access control list, as the kernel translates them for whoever asks (linux/posix_acl_xattr.h: four bytes of version,
/// then tag, permissions and id of each entry).
fn translate_acl(acl: &mut [u8], users: impl Fn(u32) -> u32, groups: impl Fn(u32) -> u32) {
    for entry in acl[4..].chunks_exact_mut(8) {
        let id = u32::from_le_bytes(entry[4..].try_into().unwrap());
        let id = match u16::from_le_bytes(entry[..2].try_into().unwrap()) {
            2 => users(id),
            8 => groups(id),
            _ => id,
        };
        entry[4..].copy_from_slice(&id.to_le_bytes());
    }
}

/// A file capability of the root of a namespace, as that root sees it: without a root (linux/capability.h, `vfs_ns_cap_data`).
fn translate_capability(capability: &mut Vec<u8>, users: impl Fn(u32) -> u32) {
    if capability[3] == 3 && users(u32::from_le_bytes(capability[20..].try_into().unwrap())) == 0 {
        capability[3] = 2;
        capability.truncate(20);
    }
}

/// A number of the host as one inside (user_namespaces(7), uid_map).
fn numbers(map: &Path) -> impl Fn(u32) -> u32 + use<> {
    let text = fs::read_to_string(map).unwrap();
    let lines = text.lines().map(|line| line.split_whitespace().map(|number| number.parse().unwrap()).collect());
    let lines: Vec<Vec<u32>> = lines.collect();
    move |number| {
        let line = lines.iter().find(|line| number.checked_sub(line[1]).is_some_and(|offset| offset < line[2]));
        line.map_or(number, |line| number - line[1] + line[0])
    }
}
