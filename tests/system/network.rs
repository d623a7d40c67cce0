//! What RUN steps reach, in a world that the test makes: Drydock runs in a network namespace of its own ("host"), which a
//! pair joins to another ("world") that has a public address and one of every internal kind, with a listener on each.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;

use drydock_tests::{base_image, cache, drydock, privileged, run};
use rustix::process::{Pid, Signal, kill_process};

const TOOLS: [&str; 5] = ["mmdebstrap", "runc", "ip", "nft", "python3"];
/// Addresses kept for documentation (RFC 5737, RFC 3849) stand for public ones.
const PUBLIC: [&str; 2] = ["198.51.100.7", "2001:db8::7"];
const INTERNAL: [&str; 7] =
    ["169.254.169.254", "10.1.2.3", "172.16.1.1", "192.168.7.7", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"];
/// The host's own.
const HOST: [&str; 2] = ["203.0.113.2", "2001:db8:1::2"];
/// Says yes to whoever connects to port 80 of any address.
const LISTENER: &str = "import socket
tcp = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
while True:
    peer, _ = tcp.accept()
    peer.sendall(b'yes')
    peer.close()
";
/// On port 81 of any address: takes the first line of as many peers as its argument says, gives all of the lines to each of
/// them, and ends their connections when each has said another line and its own input has ended.
const MEETING: &str = "import socket, sys
server = socket.create_server(('::', 81), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
peers = [server.accept()[0].makefile('rw') for _ in range(int(sys.argv[1]))]
lines = [peer.readline() for peer in peers]
for peer in peers:
    peer.write(''.join(lines) + '\\n')
    peer.flush()
for peer in peers:
    peer.readline()
sys.stdin.read()
";
/// A step that listens at its addresses, meets others ([`MEETING`]), and connects to the addresses of all of them.
const VISITOR: &str = "use strict; use IO::Socket::IP; $| = 1;
sub own { IO::Socket::IP->new(PeerHost => $_[0], PeerPort => 9, Proto => 'udp')->sockhost }
my @own = (own('V4'), own('V6'));
my @open = map { IO::Socket::IP->new(LocalHost => $_, LocalPort => 80, Listen => 99) or die } @own;
my $all = IO::Socket::IP->new(PeerHost => 'V4', PeerPort => 81) or die;
print $all \"@own\\n\"; $all->flush;
my @others; while (<$all>) { last if /^$/; push @others, split }
for my $one (@others) {
  my $peer = IO::Socket::IP->new(PeerHost => $one, PeerPort => 80, Timeout => 5);
  print \"GOT \", (grep { $_ eq $one } @own) ? 'own' : 'other', ' ', $peer ? 'yes' : 'refused', \"\\n\";
}
print $all \"done\\n\"; $all->flush; <$all>;
";
/// Says for each address what came of a connection, and in how many seconds.
const CLIENT: &str = "import socket, sys, time
for address in sys.argv[1:]:
    begun = time.monotonic()
    try:
        with socket.create_connection((address, 80), timeout=5) as peer:
            said = peer.recv(3).decode()
    except OSError as error:
        said = type(error).__name__ if isinstance(error, TimeoutError) else 'refused'
    print('GOT', address, said, 'slow' if time.monotonic() - begun > 2 else 'quick')
";

/// Two joined namespaces with listeners; gone when dropped.
struct World {
    name: String,
    listeners: Vec<Child>,
    /// What the host's switches of forwarding said before there was a build.
    forwarding: Vec<String>,
}

impl World {
    fn new(name: &str) -> Self {
        let name = format!("{name}{}", std::process::id());
        let mut world = Self { name, listeners: Vec::new(), forwarding: Vec::new() };
        let (host, outside) = (world.host(), world.outside());
        for namespace in [&host, &outside] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
            run(Command::new("ip").args(["netns", "add", namespace]));
        }
        ip(&["link", "add", "cable", "netns", &host, "type", "veth", "peer", "name", "cable", "netns", &outside]);
        for (namespace, addresses) in [(&host, &HOST[..]), (&outside, &["203.0.113.1", "2001:db8:1::1"][..])] {
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
            ip(&["-n", namespace, "link", "set", "cable", "up"]);
            for address in addresses {
                let prefix = if address.contains(':') { "64" } else { "24" };
                let mut add = vec!["-n", namespace, "address", "add"];
                let address = format!("{address}/{prefix}");
                add.extend([address.as_str(), "dev", "cable"]);
                if prefix == "64" {
                    add.push("nodad");
                }
                ip(&add);
            }
        }
        for address in PUBLIC.iter().chain(&INTERNAL) {
            let prefix = if address.contains(':') { "128" } else { "32" };
            ip(&["-n", &outside, "address", "add", &format!("{address}/{prefix}"), "dev", "lo"]);
        }
        ip(&["-n", &host, "route", "add", "default", "via", "203.0.113.1"]);
        ip(&["-n", &host, "-6", "route", "add", "default", "via", "2001:db8:1::1"]);
        for namespace in [host, outside] {
            world.listen(&namespace, &[LISTENER]);
        }
        // Before Linux 6.17 builds have IPv6 only where the host forwards it already.
        if !Path::new("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists() {
            world.forward("ipv6", "1");
        }
        world.forwarding = world.switches();
        world
    }

    /// Sets the switch of the host for a family.
    fn forward(&self, family: &str, value: &str) {
        let setting = format!("net.{family}.conf.all.forwarding={value}");
        run(self.inside(&self.host(), "sysctl").args(["-q", "-w", &setting]));
    }

    /// Every switch of forwarding that the host has, with what it says.
    fn switches(&self) -> Vec<String> {
        let grep = "grep -s . /proc/sys/net/ipv?/conf/*/*forwarding";
        let said = run(self.inside(&self.host(), "sh").args(["-c", grep])).stdout;
        String::from_utf8(said).unwrap().lines().map(str::to_owned).collect()
    }

    /// Starts a program of Python in a namespace; returns when it says that it is ready.
    fn listen(&mut self, namespace: &str, program: &[&str]) {
        let mut listener = self.inside(namespace, "python3");
        let mut listener =
            listener.arg("-c").args(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 5];
        let said = listener.stdout.as_mut().unwrap().read_exact(&mut ready);
        self.listeners.push(listener);
        said.unwrap();
    }

    fn host(&self) -> String {
        format!("{}-h", self.name)
    }

    fn outside(&self) -> String {
        format!("{}-w", self.name)
    }

    fn behind(&self) -> String {
        format!("{}-b", self.name)
    }

    /// A program in a namespace; mounts are those of everybody, as a build needs them.
    fn inside(&self, namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
        command
    }

    /// A build in the host namespace.
    fn build(&self, steps: &str, state: &Path, more: &[&str]) -> Command {
        let dir = state.parent().unwrap();
        let mut command = self.inside(&self.host(), drydock());
        command.args(["build", "-f", "-", "--base", &format!("base={}", base_image())]);
        command.args(["--size", "auto", "--dns", PUBLIC[0]]).args(more);
        let output = tempfile::Builder::new().suffix(".ext4").tempfile_in(dir).unwrap().into_temp_path();
        command.arg("-o").arg(output.keep().unwrap()).arg("--state").arg(state);
        let mut dockerfile = tempfile::tempfile().unwrap();
        dockerfile.write_all(format!("FROM base\n{steps}").as_bytes()).unwrap();
        dockerfile.rewind().unwrap();
        command.stdin(dockerfile);
        command
    }

    /// Whether the host namespace is as it was: no interface, no table, no forwarding.
    fn assert_clean(&self) {
        let see = |program: &str, arguments: &[&str]| {
            String::from_utf8(run(self.inside(&self.host(), program).args(arguments)).stdout).unwrap()
        };
        assert_eq!(see("nft", &["list", "tables"]), "", "no table stays");
        let links = see("ip", &["-brief", "link"]);
        assert!(!links.lines().any(|line| line.starts_with("dd")), "no interface stays: {links}");
        assert_eq!(self.switches(), self.forwarding);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for listener in &mut self.listeners {
            let _ = listener.kill();
            let _ = listener.wait();
        }
        for namespace in [self.host(), self.outside(), self.behind()] {
            let _ = Command::new("ip").args(["netns", "delete", &namespace]).output();
        }
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// What a step of bash, which every base here has, gets from port 80 of each address.
fn ask(addresses: &[&str]) -> String {
    let list = addresses.join(" ");
    format!(
        "SHELL [\"/bin/bash\", \"-c\"]\nRUN for a in {list}; do SECONDS=0; said=$(timeout 5 bash -c \"exec 3<>/dev/tcp/$a/80 && cat <&3\" 2>/dev/null) || true; \
         echo GOT $a ${{said:-refused}} $([ $SECONDS -gt 2 ] && echo slow || echo quick); done\n"
    )
}

fn answers(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.lines().filter(|line| line.starts_with("GOT ")).map(str::to_owned).collect()
}

#[test]
fn steps_reach_the_outside_and_nothing_else() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new("ddtA");
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let all: Vec<&str> = PUBLIC.iter().chain(&INTERNAL).chain(&HOST).copied().collect();
    // The host itself reaches all of them: what is refused below is refused by the filter.
    let mut direct = world.inside(&world.host(), "python3");
    let direct = String::from_utf8(run(direct.args(["-c", CLIENT]).args(&all)).stdout).unwrap();
    assert!(direct.lines().all(|line| line.ends_with("yes quick")), "{direct}");

    let steps = ask(&[all.as_slice(), &["127.0.0.1", "::1", "169.254.1.1"]].concat());
    let output = world.build(&steps, &dir.path().join("state"), &[]).output().unwrap();
    let answers = answers(&output);
    assert_eq!(answers.len(), all.len() + 3, "{answers:?}");
    for line in &answers {
        let address = line.split(' ').nth(1).unwrap();
        let expected = if PUBLIC.contains(&address) { "yes" } else { "refused" };
        assert_eq!(*line, format!("GOT {address} {expected} quick"));
    }
    world.assert_clean();
}

#[test]
fn exceptions_open_one_address_and_none_closes_all() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new("ddtB");
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let state = dir.path().join("state");
    let steps = ask(&["10.1.2.3", "192.168.7.7", HOST[0]]);
    let allow = ["--allow-address", "10.1.2.0/24:80", "--allow-address", HOST[0], "--allow-address", "192.168.7.7:81"];
    let opened = answers(&world.build(&steps, &state, &allow).output().unwrap());
    assert_eq!(
        opened,
        ["GOT 10.1.2.3 yes quick", "GOT 192.168.7.7 refused quick", &format!("GOT {} yes quick", HOST[0])]
    );
    world.assert_clean();
    let closed = answers(&world.build(&ask(&[PUBLIC[0]]), &state, &["--network", "none"]).output().unwrap());
    assert_eq!(closed, [format!("GOT {} refused quick", PUBLIC[0])]);
    // Another address: the step before, run without a network too, is the same one to the cache.
    let steps = ask(&[PUBLIC[1]]).replace("RUN ", "RUN --network=none ");
    let closed = answers(&world.build(&steps, &state, &[]).output().unwrap());
    assert_eq!(closed, [format!("GOT {} refused quick", PUBLIC[1])]);
}

/// A build under way, whose log is read.
struct Running {
    build: Child,
    log: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

impl Running {
    fn start(mut build: Command) -> Self {
        let mut build = build.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(build.stderr.take().unwrap()).lines();
        Self { build, log, said: Vec::new() }
    }

    /// Reads on to a line.
    fn wait_for(&mut self, wanted: &str) {
        for line in self.log.by_ref().map(Result::unwrap) {
            let found = line == wanted;
            self.said.push(line);
            if found {
                return;
            }
        }
        panic!("no line '{wanted}' in {:#?}", self.said);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.build), signal).unwrap();
    }

    /// Waits for its end: the exit status, if it has one, and all that it said.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        self.said.extend(self.log.map(Result::unwrap));
        (self.build.wait().unwrap().code(), self.said)
    }
}

/// [`VISITOR`] as a step; the number tells it from its like, which would share its result.
fn visitor(number: u32) -> String {
    let program = VISITOR.replace("V4", PUBLIC[0]).replace("V6", PUBLIC[1]);
    format!("RUN perl - <<'EOF'\n{program}# {number}\nEOF\n")
}

#[test]
fn eight_builds_at_once_have_a_network_each() {
    if !privileged(&TOOLS) {
        return;
    }
    let mut world = World::new("ddtD");
    world.listen(&world.outside(), &[MEETING, "8"]);
    drop(world.listeners.last_mut().unwrap().stdin.take());
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let state = dir.path().join("state");
    let build = |number| answers(&world.build(&visitor(number), &state, &[]).output().unwrap());
    let all: Vec<Vec<String>> = thread::scope(|scope| {
        let builds: Vec<_> = (0..8).map(|number| scope.spawn(move || build(number))).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    for answers in all {
        // Each has an address of both families, and reaches its own alone.
        let count = |wanted: &str| answers.iter().filter(|answer| *answer == wanted).count();
        assert_eq!((count("GOT own yes"), count("GOT other refused"), answers.len()), (2, 14, 16), "{answers:?}");
    }
    world.assert_clean();
}

#[test]
fn the_host_routes_for_builds_alone() {
    if !privileged(&TOOLS) {
        return;
    }
    let mut world = World::new("ddtE");
    // A network behind the host, which a stranger outside has a route to.
    let (host, outside, behind) = (world.host(), world.outside(), world.behind());
    run(Command::new("ip").args(["netns", "add", &behind]));
    ip(&["link", "add", "inner", "netns", &host, "type", "veth", "peer", "name", "inner", "netns", &behind]);
    ip(&["-n", &behind, "link", "set", "lo", "up"]);
    for (namespace, end) in [(&host, 1), (&behind, 2)] {
        ip(&["-n", namespace, "link", "set", "inner", "up"]);
        ip(&["-n", namespace, "address", "add", &format!("192.0.2.{end}/24"), "dev", "inner"]);
        ip(&["-n", namespace, "address", "add", &format!("2001:db8:2::{end}/64"), "dev", "inner", "nodad"]);
    }
    ip(&["-n", &behind, "route", "add", "default", "via", "192.0.2.1"]);
    ip(&["-n", &behind, "route", "add", "default", "via", "2001:db8:2::1"]);
    ip(&["-n", &outside, "route", "add", "192.0.2.0/24", "via", HOST[0]]);
    ip(&["-n", &outside, "route", "add", "2001:db8:2::/64", "via", HOST[1]]);
    world.listen(&behind, &[LISTENER]);
    world.forwarding = world.switches();
    let stranger = || {
        let mut asks = world.inside(&outside, "python3");
        String::from_utf8(run(asks.args(["-c", CLIENT, "192.0.2.2", "2001:db8:2::2"])).stdout).unwrap()
    };
    let is_let_through = || stranger().lines().map(|line| line.contains(" yes ")).collect::<Vec<_>>();
    let before = is_let_through();
    ["ipv4", "ipv6"].iter().for_each(|family| world.forward(family, "1"));
    assert_eq!(is_let_through(), [true, true], "a host that forwards lets it through");
    ["ipv4", "ipv6"]
        .iter()
        .zip(&before)
        .for_each(|(family, before)| world.forward(family, if *before { "1" } else { "0" }));
    assert_eq!(is_let_through(), before);

    let dir = tempfile::tempdir_in(cache()).unwrap();
    let steps = format!("{}RUN echo started; sleep 65432\n", ask(&PUBLIC));
    let mut build = Running::start(world.build(&steps, &dir.path().join("state"), &[]));
    build.wait_for(&format!("GOT {} yes quick", PUBLIC[1]));
    build.wait_for("started");
    let during = is_let_through();
    build.signal(Signal::INT);
    build.end();
    assert_eq!(during, before);
    world.assert_clean();
}

#[test]
fn packages_are_installed_from_the_mirror_of_the_host() {
    if !privileged(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir_in(cache()).unwrap();
    fs::write(dir.path().join("Dockerfile"), "FROM base\nRUN apt-get update && ip=$(hostname -I) && echo OWN $ip\n")
        .unwrap();
    let mut build = Command::new(drydock());
    build.arg("build").arg("-f").arg(dir.path().join("Dockerfile")).args(["--base", &format!("base={}", base_image())]);
    build.args(["--size", "auto", "-o"]).arg(dir.path().join("out.ext4")).arg("--state").arg(dir.path().join("state"));
    let said = String::from_utf8(run(&mut build).stderr).unwrap();
    assert!(said.lines().any(|line| line.starts_with("OWN 198.1")), "{said}");
}

#[test]
fn nothing_stays_of_a_build_that_fails_or_is_killed() {
    if !privileged(&TOOLS) {
        return;
    }
    let mut world = World::new("ddtC");
    let (dir, other) = (tempfile::tempdir_in(cache()).unwrap(), tempfile::tempdir_in(cache()).unwrap());
    let (state, other) = (dir.path().join("state"), other.path().join("state"));
    assert_eq!(world.build("RUN exit 3\n", &state, &[]).output().unwrap().status.code(), Some(1));
    world.assert_clean();

    // Another build, which goes on while what the killed one left is taken down.
    world.listen(&world.outside(), &[MEETING, "1"]);
    let steps = format!("{}{}", visitor(0), ask(&PUBLIC));
    let mut lasting = Running::start(world.build(&steps, &other, &[]));
    lasting.wait_for("GOT own yes");
    let mut killed = Running::start(world.build("RUN echo started; sleep 65432\n", &state, &[]));
    killed.wait_for("started");
    killed.signal(Signal::KILL);
    killed.end();
    // The next build takes down what the killed one left.
    assert_eq!(world.build("RUN exit 4\n", &state, &[]).output().unwrap().status.code(), Some(1));
    drop(world.listeners.last_mut().unwrap().stdin.take());
    let (status, said) = lasting.end();
    assert_eq!(status, Some(0), "{said:#?}");
    for address in PUBLIC {
        assert!(said.contains(&format!("GOT {address} yes quick")), "{said:#?}");
    }
    world.assert_clean();
}
