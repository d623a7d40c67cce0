//! `docker://` through the binary: platform, credentials by a helper, an image of it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drydock_tests::{drydock, fsck, privileged, run};

/// `captain:hunter2` as bcrypt has it.
const HTPASSWD: &str = "captain:$2b$04$8wNXja87lQFEh4/YLW2uuOpEZHeRH3pZ6CevXt.ZlWPOkng3ANoFG\n";
const HELPER: &str = r#"#!/bin/sh
host=$(cat); test "$1" = get && test "$host" = "$EXPECTED_HOST" || exit 1
echo '{"ServerURL":"x","Username":"captain","Secret":"hunter2"}'
"#;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A registry on a free port, and its host.
fn serve(dir: &Path) -> (Server, String) {
    let place = dir.display();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\n\
         http: {{addr: '{host}'}}\nauth: {{htpasswd: {{realm: test, path: {place}/htpasswd}}}}\n"
    );
    fs::write(dir.join("config.yml"), config).unwrap();
    fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
    let mut serve = Command::new("docker-registry");
    serve.arg("serve").arg(dir.join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(serve.spawn().unwrap());
    for _ in 0..500 {
        if TcpStream::connect(&host).is_ok() {
            return (server, host);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("docker-registry does not start");
}

#[test]
fn an_image_of_a_registry_is_listed_and_written() {
    if !privileged(&["docker-registry", "skopeo", "e2fsck"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (place, state) = (scratch.path(), scratch.path().join("state"));
    let (_server, host) = serve(place);
    fs::create_dir(place.join("root")).unwrap();
    fs::write(place.join("root/hello"), "from a registry").unwrap();
    run(Command::new("tar").arg("-cf").arg(place.join("root.tar")).arg("-C").arg(place.join("root")).arg("hello"));
    let layout = format!("oci:{}:hello", place.join("layout").display());
    run(Command::new(drydock()).args(["image", "import"]).arg(place.join("root.tar")).arg(&layout));
    let name = format!("docker://{host}/team/app:hello");
    let push = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "--dest-creds", "captain:hunter2"];
    run(Command::new("skopeo").args(push).args([&layout, &name]));

    fs::create_dir(place.join("bin")).unwrap();
    let helper = place.join("bin/docker-credential-told");
    fs::write(&helper, HELPER).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.join("config.json"), format!(r#"{{"credHelpers": {{"{host}": "told"}}}}"#)).unwrap();
    let image = |arguments: &[&str]| {
        let mut command = Command::new(drydock());
        command.arg("image").args(arguments).args(["--insecure-registry", &host, "--state"]).arg(&state);
        let path = format!("{}:{}", place.join("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("EXPECTED_HOST", &host).env("DOCKER_CONFIG", place);
        command.env("no_proxy", "127.0.0.1");
        command
    };
    let listed = run(&mut image(&["ls", &name]));
    assert!(String::from_utf8(listed.stdout).unwrap().contains("hello"));
    let output = place.join("out.ext4");
    run(image(&["ext4", &name, "--size", "8MiB"]).arg("-o").arg(&output));
    fsck(&output);

    let refused = |command: &mut Command, part: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(part), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    refused(&mut image(&["ls", &name, "--platform", "linux/s390x/"]), "is no platform");
    refused(image(&["ls", &name]).env("EXPECTED_HOST", "another"), "docker-credential-told");
    refused(image(&["ls", &name]).env("DOCKER_CONFIG", place.join("bin")), "needs a user and a password");
    refused(&mut image(&["ls", &name, "--mirror", "nonsense"]), "HOST=URL");
}
