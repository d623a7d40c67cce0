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
const SETTINGS: [&str; 4] = ["max_connections=300", "fsync=off", "shared_buffers=32MB", "log_min_messages=fatal"];

/// A server; stopped and removed when dropped, and by the kernel should the thread that started it be gone.
#[derive(Debug)]
pub struct Postgres {
    dir: tempfile::TempDir,
    programs: PathBuf,
    process: Option<Child>,
    /// What a test wants beside [`SETTINGS`].
    settings: Vec<String>,
    /// Where it listens beside its socket.
    host: Option<(String, u16)>,
}

impl Postgres {
    /// Starts one; `None` where that can't be done, and a skip was said.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::begin(None, None)
    }

    /// The same, listening at an address of this host too; with TLS where a certificate and its key are given, as PEM.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn listening(address: &str, tls: Option<(&str, &str)>) -> Option<Self> {
        // A port that is free now; nobody else asks for it in this moment.
        let port = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        Self::begin(Some((address.to_owned(), port)), tls)
    }

    fn begin(host: Option<(String, u16)>, tls: Option<(&str, &str)>) -> Option<Self> {
        if !privileged(&["setpriv"]) {
            return None;
        }
        let Some(programs) = programs() else {
            skip("this test needs postgresql; scripts/setup test installs it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let address = host.as_ref().map_or("", |(address, _)| address);
        let settings = vec![format!("listen_addresses={address}")];
        let mut server = Self { dir, programs, process: None, settings, host };
        fs::create_dir(server.place()).unwrap();
        run(Command::new("chown").arg(USER).arg(server.place()));
        let mut init = server.program("initdb");
        init.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER, "--pgdata"]);
        run(init.arg(server.data()));
        // Where there is TLS, nobody comes without it.
        let how = if tls.is_some() { "hostssl" } else { "host" };
        let who = format!("local all all trust\n{how} all all 0.0.0.0/0 trust\n");
        fs::write(server.data().join("pg_hba.conf"), who).unwrap();
        if let Some((certificate, key)) = tls {
            server.settings.push("ssl=on".to_owned());
            for (name, content) in [("server.crt", certificate), ("server.key", key)] {
                let path = server.data().join(name);
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                run(Command::new("chown").arg(USER).arg(path));
            }
        }
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
        for setting in SETTINGS.into_iter().chain(self.settings.iter().map(String::as_str)) {
            serve.args(["-c", setting]);
        }
        if let Some((_, port)) = &self.host {
            serve.args(["-p", &port.to_string()]);
        }
        serve.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = serve.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(Instant::now() < end, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
            // What a killed one left may be in use for a moment.
            if process.try_wait().unwrap().is_some() {
                process = serve.spawn().unwrap();
            }
        }
        self.process = Some(process);
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

    /// Ends all processes of the server with SIGKILL: nobody of it does anything more.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill_hard(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let first = process.id().to_string();
        // The first process begins no others once it is stopped.
        kill_process(Pid::from_child(&process), Signal::STOP).unwrap();
        let parent = |stat: &str| stat.rsplit_once(") ")?.1.split(' ').nth(1).map(str::to_owned);
        let others = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let of_it = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent(&stat).as_ref() == Some(&first))
        };
        let others: Vec<i32> = others.filter(of_it).collect();
        process.kill().unwrap();
        for pid in others {
            // It may have ended by itself.
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).ok();
        }
        process.wait().unwrap();
    }

    /// Makes a database, and gives its address.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        let made = self.psql("postgres", &format!("CREATE DATABASE {name}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        match &self.host {
            Some((address, port)) => format!("postgres://{USER}@{address}:{port}/{name}"),
            None => format!("postgres://{USER}@{}/{name}", self.place().display().to_string().replace('/', "%2F")),
        }
    }

    /// What `psql` answers to a statement.
    ///
    /// # Panics
    /// When it can't be run.
    #[must_use]
    pub fn psql(&self, database: &str, statement: &str) -> Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--username", USER, "--dbname", database, "--host"]);
        psql.arg(self.place());
        if let Some((_, port)) = &self.host {
            psql.args(["--port", &port.to_string()]);
        }
        psql.args(["--command", statement]).output().unwrap()
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
