//! A `docker-registry` of the test's own, and the image that is in it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fstree::dump;
use ocilayers::{Digest, Error, Image, OpenOptions, RegistryOptions, Store, flatten};
use serde_json::{Value, json};

/// User and password of [`Server::with_password`].
pub(crate) const PASSWORD: (&str, &str) = ("captain", "hunter2");
/// The same as bcrypt has it.
const HTPASSWD: &str = "captain:$2b$04$8wNXja87lQFEh4/YLW2uuOpEZHeRH3pZ6CevXt.ZlWPOkng3ANoFG\n";

/// A registry on a port of this machine.
pub(crate) struct Server {
    child: Child,
    _dir: tempfile::TempDir,
    pub(crate) host: String,
}

impl Server {
    /// Starts one; `None`, after saying so, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    pub(crate) fn with_password() -> Option<Self> {
        Self::start_with("auth: {htpasswd: {realm: test, path: DIR/htpasswd}}\n")
    }

    fn start_with(auth: &str) -> Option<Self> {
        for tool in ["docker-registry", "skopeo"] {
            if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                let required = std::env::var_os("DRYDOCK_REQUIRE_ALL").is_some_and(|value| value == "1");
                assert!(!required, "{tool} is not installed, and DRYDOCK_REQUIRE_ALL=1 lets no test be skipped");
                eprintln!("SKIPPED: a real registry: {tool} is not installed; scripts/setup test installs it");
                return None;
            }
        }
        // A port that was free may be another test's by the time it is taken.
        Some((0..10).find_map(|_| Self::on_a_free_port(auth)).expect("docker-registry does not start"))
    }

    fn on_a_free_port(auth: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().display().to_string();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\nhttp: {{addr: '{host}'}}\n{}",
            auth.replace("DIR", &place)
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        let mut serve = Command::new("docker-registry");
        serve.arg("serve").arg(dir.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { child: serve.spawn().unwrap(), _dir: dir, host };
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if server.child.try_wait().unwrap().is_some() {
                return None;
            }
            if server.answers() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Whether it is a registry that listens there.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.host) else { return false };
        let mut said = String::new();
        let asked = write!(stream, "GET /v2/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host);
        asked.and_then(|()| stream.read_to_string(&mut said)).is_ok()
            && said.contains("Docker-Distribution-Api-Version")
    }

    /// Copies an image of a layout to `a/b:tag`, all its platforms.
    pub(crate) fn push(&self, layout: &Path, tag: &str) {
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"]);
        copy.args(["--dest-creds", &format!("{}:{}", PASSWORD.0, PASSWORD.1)]);
        copy.arg(format!("oci:{}:{tag}", layout.display())).arg(format!("docker://{}/a/b:{tag}", self.host));
        let output = copy.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// A registry that holds [`two_platforms`] as `a/b:1`.
pub(crate) fn filled() -> Option<Server> {
    let server = Server::start()?;
    let dir = tempfile::tempdir().unwrap();
    two_platforms(dir.path());
    server.push(dir.path(), "1");
    Some(server)
}

/// A layout with an image `1` for two platforms: `etc/which` names the architecture, `big` takes 3 MiB of the blob.
pub(crate) fn two_platforms(dir: &Path) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let image = |architecture: &str| {
        let layer = layer(architecture);
        let config = json!({ "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] } });
        let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let layer = put(&layer, "application/vnd.oci.image.layer.v1.tar");
        let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer] });
        let mut manifest = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifest
    };
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [image("amd64"), image("arm64")] });
    let mut index = put(index.to_string().as_bytes(), "application/vnd.oci.image.index.v1+json");
    index["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
    let top = json!({ "schemaVersion": 2, "manifests": [index] });
    fs::write(dir.join("index.json"), top.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn layer(architecture: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    });
    let files = [("etc/which", architecture.as_bytes().to_vec()), ("big", noise.take(3 << 20).collect())];
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len().try_into().unwrap());
        archive.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Patience of tests: short.
pub(crate) fn patient(host: &str) -> RegistryOptions {
    let mut registry = RegistryOptions::default();
    registry.insecure = vec![host.to_owned()];
    registry.connect_deadline = Duration::from_secs(5);
    registry.stall_deadline = Duration::from_secs(2);
    registry.retries = 2;
    registry
}

/// The image `a/b:1` of a host, fetched whole: its tree, as a text.
pub(crate) fn pull(host: &str, registry: RegistryOptions) -> Result<String, String> {
    pull_as(&format!("docker://{host}/a/b:1"), &OpenOptions { registry, ..amd64() }).map_err(|error| whole(&error))
}

pub(crate) fn amd64() -> OpenOptions {
    OpenOptions { platform: "linux/amd64".parse().unwrap(), ..OpenOptions::default() }
}

pub(crate) fn pull_as(reference: &str, options: &OpenOptions) -> Result<String, Error> {
    let dir = tempfile::tempdir().unwrap();
    let result = Image::open_with(&reference.parse().unwrap(), options).and_then(|image| {
        Store::open(dir.path(), options.limits)?.layers(&image, Some(2)).map(|layers| (image, layers))
    });
    let (image, layers) = match result {
        Ok(found) => found,
        Err(error) => {
            let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> = left.filter(|name| name != ".lock").collect();
            assert!(left.is_empty(), "a failed pull leaves {left:?}");
            return Err(error);
        }
    };
    let config: Value = serde_json::from_slice(image.config()).unwrap();
    Ok(format!("{} {}", config["architecture"].as_str().unwrap(), dump(&flatten(&layers, &options.limits)?)))
}

/// An error with all its causes.
pub(crate) fn whole(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
