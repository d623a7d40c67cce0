//! `drydock template fetch` from a service of real processes, which keeps images in chunks.

use std::path::Path;
use std::process::{Command, Output};

use drydock_tests::{Postgres, base_image, drydock, privileged, sha256};
use serde_json::{Value, json};

use super::server::Server;

/// Who fetches, from where.
struct Fetcher<'a> {
    url: &'a str,
    key: &'a str,
    cache: &'a Path,
}

impl Fetcher<'_> {
    fn output(&self, id: &str, out: &Path) -> Output {
        let mut fetch = Command::new(drydock());
        fetch.args(["template", "fetch", id, "--json", "--output"]).arg(out).arg("--cache").arg(self.cache);
        fetch.env("DRYDOCK_URL", self.url).env("DRYDOCK_API_KEY", self.key).output().unwrap()
    }

    fn fetch(&self, id: &str, out: &Path) -> Value {
        let output = self.output(id, out);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What is said when there is nothing to be had.
    fn refused(&self, id: &str, out: &Path) -> String {
        let output = self.output(id, out);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(!out.exists());
        String::from_utf8(output.stderr).unwrap()
    }
}

fn bytes(answer: &Value) -> u64 {
    answer["bytes_fetched"].as_u64().unwrap()
}

fn build(api: &Server, key: &str, name: &str, commands: &str) -> Value {
    let body = json!({ "name": name, "dockerfile": format!("FROM nodeops/sandbox:debian\n{commands}\n") });
    let (status, made) = api.request(key, "POST", "/v1/templates", Some(&body)).unwrap();
    assert_eq!(status, 200, "{made}");
    let id = made["data"]["id"].as_str().unwrap();
    let (_, log) = api.request(key, "GET", &format!("/v1/templates/{id}/logs"), None).unwrap();
    let ready = api.request(key, "GET", &format!("/v1/templates/{id}"), None).unwrap().1["data"].clone();
    assert_eq!(ready["status"], "ready", "{log}");
    ready
}

/// Built at one host, fetched from another that never saw the image: byte for byte the same. What a second image has in common
/// with the first is not sent again, and nobody gets what is not theirs.
#[test]
fn an_image_is_fetched_as_what_is_not_there() {
    if !privileged(&["curl", "mmdebstrap"]) {
        return;
    }
    let Some(server) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (database, objects) = (server.database("drydock"), dir.path().join("objects").display().to_string());
    let start = |name: &str, role: &str| {
        let settings = [
            ("DRYDOCK_DATABASE", database.as_str()),
            ("DRYDOCK_OBJECTS", &objects),
            ("DRYDOCK_ROLE", role),
            ("DRYDOCK_DISK_SIZE_BYTES", "536870912"),
        ];
        Server::start(&dir.path().join(name), base_image(), &settings)
    };
    let builds = start("builds", "all");
    let key = builds.key.clone().unwrap();
    let answers = start("answers", "api");
    let one = build(&builds, &key, "one", "WORKDIR /one");
    let two = build(&builds, &key, "two", "WORKDIR /two\nENV B=1");

    let cache = dir.path().join("cache");
    let fetcher = Fetcher { url: &answers.url, key: &key, cache: &cache };
    let out = dir.path().join("rootfs.ext4");
    let first = fetcher.fetch("one", &out);
    assert_eq!(sha256(&out), one["rootfs_sha256"].as_str().unwrap());
    assert!(bytes(&first) > 10 << 20 && first["chunks_cached"] == 0, "{first}");
    let config =
        || -> Value { serde_json::from_slice(&std::fs::read(dir.path().join("rootfs.config.json")).unwrap()).unwrap() };
    assert_eq!(config()["config"]["WorkingDir"], "/one");
    // It was not needed for that on the host that answered.
    let images = std::fs::read_dir(dir.path().join("answers/images")).map(Iterator::count);
    assert!(images.is_ok_and(|images| images <= 1), "nothing but tmp");
    let second = fetcher.fetch(two["id"].as_str().unwrap(), &out);
    assert_eq!(sha256(&out), two["rootfs_sha256"].as_str().unwrap());
    assert_eq!((&config()["config"]["WorkingDir"], &config()["config"]["Env"][1]), (&"/two".into(), &"B=1".into()));
    assert!(bytes(&second) * 20 < bytes(&first), "{first} {second}");
    let again = fetcher.fetch("one@1", &out);
    assert_eq!((sha256(&out).as_str(), bytes(&again)), (one["rootfs_sha256"].as_str().unwrap(), 0));
    std::fs::remove_file(&out).unwrap();

    // Another owner's, a pack that the template does not name, and what is no template.
    let mut create = Command::new(drydock());
    create.args(["key", "create", "--owner", "bob"]).env("DRYDOCK_DATABASE", &database).current_dir(dir.path());
    let bob = String::from_utf8(create.output().unwrap().stdout).unwrap();
    let of_bob = Fetcher { key: bob.split_whitespace().find(|word| word.starts_with("ddk_")).unwrap(), ..fetcher };
    assert!(of_bob.refused(one["id"].as_str().unwrap(), &out).contains("no such template"));
    let packs: Vec<String> = std::fs::read_dir(Path::new(&objects).join("packs"))
        .unwrap()
        .map(|pack| pack.unwrap().file_name().into_string().unwrap())
        .collect();
    let pack = |id: &Value, of: &Value| {
        let pack = packs.iter().find(|pack| pack.starts_with(of.as_str().unwrap())).unwrap();
        let path = format!("{}/v1/templates/{}/chunks/{pack}", answers.url, id.as_str().unwrap());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--range", "0-9"]);
        String::from_utf8(curl.arg("--header").arg(format!("X-Api-Key: {key}")).arg(path).output().unwrap().stdout)
            .unwrap()
    };
    assert_eq!(pack(&one["id"], &one["id"]), "206");
    assert_eq!(pack(&one["id"], &two["id"]), "404");
    assert!(fetcher.refused("three", &out).contains("no such template"));
    assert_eq!(config()["config"]["WorkingDir"], "/one", "a fetch that failed takes nothing away");
    for host in [answers, builds] {
        host.stop();
    }
}
