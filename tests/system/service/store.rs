//! An object store for tests.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::hosts::until;
use super::packages;

/// A store that speaks S3, in the memory of a process.
pub(super) struct Store {
    process: Child,
    pub(super) url: String,
}

impl Store {
    pub(super) fn start() -> Self {
        let place = packages::of_pypi("moto[server]==5.2.5");
        // A port that is free now; nobody else asks for it in this moment.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut serve = Command::new("python3");
        serve.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port]).env("PYTHONPATH", &place).current_dir("/");
        let process = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let store = Self { process, url: format!("http://127.0.0.1:{port}") };
        until("the store makes a bucket", || store.curl(&["--fail", "--request", "PUT"], "/drydock").is_some());
        store
    }

    pub(super) fn curl(&self, args: &[&str], path: &str) -> Option<String> {
        let output =
            Command::new("curl").arg("--silent").args(args).arg(format!("{}{path}", self.url)).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// The names in the bucket.
    pub(super) fn names(&self) -> Vec<String> {
        let list = self.curl(&[], "/drydock?list-type=2").unwrap();
        list.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
