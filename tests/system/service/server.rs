//! A server as a process of its own, and requests to it by curl.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use drydock_tests::{drydock, import, made_once, run};
use serde_json::Value;

pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
    /// The first key, if this start made it.
    pub(crate) key: Option<String>,
    /// Where its metrics are, if it was asked for them.
    pub(crate) metrics: Option<String>,
}

impl Server {
    /// Serves `data`; `settings` are variables of the environment.
    pub(crate) fn start(data: &Path, base: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_under(&[], data, base, settings)
    }

    /// The same, by a program and its arguments that become the server.
    pub(crate) fn start_under(under: &[&str], data: &Path, base: &str, settings: &[(&str, &str)]) -> Self {
        let mut words = under.iter().map(std::ffi::OsStr::new).chain([drydock().as_os_str()]);
        let mut serve = Command::new(words.next().expect("the last one is there"));
        serve.args(words);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--base", &format!("nodeops/sandbox:debian={base}"), "--data"]);
        serve.arg(data).envs(settings.iter().copied()).stdout(Stdio::piped());
        let mut process = serve.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (mut key, mut url, mut metrics) = (None, None, None);
        while url.is_none() {
            let line = lines.next().expect("the server says where it listens").unwrap();
            key = key.or(line.strip_prefix("the first key, shown this once: ").map(str::to_owned));
            metrics = metrics.or(line.strip_prefix("metrics on ").map(str::to_owned));
            url = line.strip_prefix("listening on ").map(str::to_owned);
            if line.starts_with("building") {
                url = Some(String::new());
            }
        }
        Self { process, url: url.unwrap(), key, metrics }
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.process)
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        drop(self.process.kill());
        self.process.wait().unwrap();
    }

    /// Asks it to end, and gives the time that it may take.
    pub(crate) fn stop(mut self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    /// The answer to a request by curl: status and JSON. `None` when the server went away meanwhile.
    pub(crate) fn request(&self, key: &str, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "60", "--request", method, "--write-out", "\n%{http_code}"]);
        curl.args(["--header", &format!("X-Api-Key: {key}"), &format!("{}{path}", self.url)]);
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json", "--data", &body.to_string()]);
        }
        let output = curl.output().unwrap();
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        Some((status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()))))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed leaves no server behind; one that ended is not there to be killed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A base of a few bytes: what stands on it is built in milliseconds, and without root as long as nothing runs.
pub(crate) fn small_base() -> &'static str {
    static BASE: OnceLock<String> = OnceLock::new();
    BASE.get_or_init(|| {
        let dir = made_once("small-base", |dir| {
            let scratch = tempfile::tempdir().unwrap();
            let (root, tar) = (scratch.path().join("root"), scratch.path().join("small-base.tar"));
            std::fs::create_dir(&root).unwrap();
            std::fs::write(root.join("passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
            run(Command::new("tar")
                .args(["--create", "--owner=0", "--group=0", "--file"])
                .arg(&tar)
                .arg("-C")
                .arg(root)
                .arg("."));
            import(&tar, dir, "small");
        });
        format!("oci:{}:small", dir.display())
    })
}
