//! A PostgreSQL server of a test's own: a folder, a socket, and an end with the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{privileged, run, skip};

/// The user that Debian's package makes: the server refuses to run as root.
const USER: &str = "postgres";

/// What the system keeps of a write survives a kill of the server, which is all that happens to it here.
const SETTINGS: [&str; 5] =
    ["listen_addresses=", "max_connections=300", "fsync=off", "shared_buffers=32MB", "log_min_messages=fatal"];

/// A server; stopped and removed when dropped, and by the kernel should the thread that started it be gone.
#[derive(Debug)]
pub struct Postgres {
    dir: tempfile::TempDir,
    programs: PathBuf,
    process: Option<Child>,
}

impl Postgres {
    /// Starts one; `None` where that can't be done, and a skip was said.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !privileged(&["setpriv"]) {
            return None;
        }
        let Some(programs) = programs() else {
            skip("this test needs postgresql; scripts/setup test installs it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Self { dir, programs, process: None };
        fs::create_dir(server.place()).unwrap();
        run(Command::new("chown").arg(USER).arg(server.place()));
        let mut init = server.program("initdb");
        init.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER, "--pgdata"]);
        run(init.arg(server.data()));
        server.restart();
        Some(server)
    }

    /// Starts the server again after [`Postgres::kill`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let mut serve = self.program("postgres");
        serve.arg("-D").arg(self.data()).arg("-k").arg(self.place());
        for setting in SETTINGS {
            serve.args(["-c", setting]);
        }
        self.process = Some(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(60);
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(Instant::now() < end, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server at once, as a crash does: no connection is said goodbye to, and the next start recovers.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The first process ends those of all connections.
            kill_process(Pid::from_child(&process), Signal::QUIT).unwrap();
            process.wait().unwrap();
        }
    }

    /// Makes a database, and gives its address.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        let made = self.psql("postgres", &format!("CREATE DATABASE {name}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let place = self.place().display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{place}/{name}")
    }

    /// What `psql` answers to a statement.
    ///
    /// # Panics
    /// When it can't be run.
    #[must_use]
    pub fn psql(&self, database: &str, statement: &str) -> Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--username", USER, "--dbname", database, "--host"]);
        psql.arg(self.place()).args(["--command", statement]).output().unwrap()
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("server")
    }

    fn data(&self) -> PathBuf {
        self.place().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut program = Command::new("setpriv");
        program.args(["--reuid", USER, "--regid", USER, "--init-groups", "--pdeathsig", "QUIT"]);
        program.arg(self.programs.join(name)).current_dir("/");
        program
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A server that ended by itself is not there to be stopped.
            if kill_process(Pid::from_child(&process), Signal::QUIT).is_ok() {
                drop(process.wait());
            }
        }
    }
}

/// Where Debian has the programs of its newest server.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(Path::new("/usr/lib/postgresql")).ok()?;
    let places = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    places.filter(|place| place.join("postgres").exists()).max()
}
