//! What RUN steps reach, in a world that the test makes: Drydock runs in a network namespace of its own ("host"), which a
//! pair joins to another ("world") that has a public address and one of every internal kind, with a listener on each.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use drydock_tests::{base_image, cache, drydock, privileged, run};

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
}

impl World {
    fn new(name: &str) -> Self {
        let name = format!("{name}{}", std::process::id());
        let mut world = Self { name, listeners: Vec::new() };
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
            let mut listener = world.inside(&namespace, "python3");
            let mut listener = listener.args(["-c", LISTENER]).stdout(Stdio::piped()).spawn().unwrap();
            let mut ready = [0; 5];
            std::io::Read::read_exact(listener.stdout.as_mut().unwrap(), &mut ready).unwrap();
            world.listeners.push(listener);
        }
        world
    }

    fn host(&self) -> String {
        format!("{}-h", self.name)
    }

    fn outside(&self) -> String {
        format!("{}-w", self.name)
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
        fs::write(dir.join("Dockerfile"), format!("FROM base\n{steps}")).unwrap();
        let mut command = self.inside(&self.host(), drydock());
        command.arg("build").arg("-f").arg(dir.join("Dockerfile")).args(["--base", &format!("base={}", base_image())]);
        command.args(["--size", "auto", "--dns", PUBLIC[0]]).args(more);
        command.arg("-o").arg(dir.join("out.ext4")).arg("--state").arg(state);
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
        for setting in ["ipv4/conf/cable/forwarding", "ipv6/conf/all/forwarding"] {
            assert_eq!(see("cat", &[&format!("/proc/sys/net/{setting}")]), "0\n", "{setting}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for listener in &mut self.listeners {
            let _ = listener.kill();
            let _ = listener.wait();
        }
        for namespace in [self.host(), self.outside()] {
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

#[test]
fn nothing_stays_of_a_build_that_fails_or_is_killed() {
    if !privileged(&TOOLS) {
        return;
    }
    let world = World::new("ddtC");
    let dir = tempfile::tempdir_in(cache()).unwrap();
    let state = dir.path().join("state");
    assert_eq!(world.build("RUN exit 3\n", &state, &[]).output().unwrap().status.code(), Some(1));
    world.assert_clean();
    let mut killed = world.build("RUN echo started; sleep 65432\n", &state, &[]);
    let mut killed = killed.stderr(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(killed.stderr.take().unwrap()));
    assert!(lines.map(Result::unwrap).any(|line| line == "started"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    // The next build takes down what the killed one left.
    assert_eq!(world.build("RUN exit 4\n", &state, &[]).output().unwrap().status.code(), Some(1));
    world.assert_clean();
}
