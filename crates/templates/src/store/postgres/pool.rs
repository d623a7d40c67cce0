//! Connections to the server: a few, kept, made anew when the server went away meanwhile. What is safe to say again is said again for
//! [`PATIENCE`]: a transaction that did not come to its COMMIT never happened; one whose COMMIT was not answered may have.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postgres::config::SslMode;
use postgres::types::ToSql;
use postgres::{Client, Config, NoTls, Row, Statement};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;

/// Connections of one service.
const CONNECTIONS_MAX: usize = 16;

/// How long a server that is away is waited for, and a connection that is free.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first pause between two tries; each one is twice as long as the one before, up to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// How long a connection may take to come, and a sent byte to be acknowledged: a host that is cut off has to notice.
const REACH: Duration = Duration::from_secs(5);

/// No statement of ours takes longer, no lock is held longer.
const SESSION: &str = "SET statement_timeout = '30s'; SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = '30s'; \
                       SET default_transaction_isolation = 'read committed'; SET client_min_messages = warning";

/// Whether the same transaction may have happened already: its COMMIT was sent, and no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Never,
    Perhaps,
}

pub(super) struct Pool {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    connections: Mutex<Connections>,
    came_back: Condvar,
}

#[derive(Default)]
struct Connections {
    idle: Vec<Connection>,
    /// Those that are held now.
    held: usize,
}

/// Names hosts, and no password.
impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?}, {:?})", self.config.get_hosts(), self.config.get_dbname())
    }
}

impl Pool {
    /// For the server of a `postgres://` address. Nothing is connected yet.
    pub(super) fn new(address: &str) -> Result<Self, StoreError> {
        let mut config: Config = address.parse().map_err(StoreError::Address)?;
        config.connect_timeout(REACH).tcp_user_timeout(REACH);
        config.keepalives_idle(REACH).keepalives_interval(REACH / 2).keepalives_retries(2);
        if config.get_application_name().is_none() {
            config.application_name("drydock");
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(checked_tls()?),
            // Without a certificate that is checked TLS keeps no one out: it is asked for, or it is not used.
            _ => None,
        };
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        Ok(Self { config, tls, connections: Mutex::default(), came_back: Condvar::new() })
    }

    /// Looks, outside of a transaction.
    pub(super) fn read<T>(
        &self,
        mut look: impl FnMut(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        patiently(|| look(self.hold()?.connection()))
    }

    /// Changes in one transaction, which is begun again when it was broken off. `change` is told whether that may have come too late.
    pub(super) fn write<T>(
        &self,
        mut change: impl FnMut(&mut Connection, Before) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut before = Before::Never;
        patiently(|| {
            let mut held = self.hold()?;
            let connection = held.connection();
            connection.client.batch_execute("BEGIN")?;
            match change(connection, before) {
                Ok(changed) => {
                    let committed = connection.client.batch_execute("COMMIT");
                    if committed.is_err() {
                        before = Before::Perhaps;
                    }
                    Ok(committed.map(|()| changed)?)
                }
                Err(error) => {
                    if connection.client.batch_execute("ROLLBACK").is_err() {
                        held.discard();
                    }
                    Err(error)
                }
            }
        })
    }

    fn hold(&self) -> Result<Held<'_>, StoreError> {
        let end = Instant::now() + PATIENCE;
        let mut connections = self.lock();
        loop {
            while let Some(connection) = connections.idle.pop() {
                if !connection.client.is_closed() {
                    connections.held += 1;
                    return Ok(Held { pool: self, connection: Some(connection) });
                }
            }
            if connections.held < CONNECTIONS_MAX {
                connections.held += 1;
                drop(connections);
                let mut held = Held { pool: self, connection: None };
                held.connection = Some(self.connect()?);
                return Ok(held);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::Crowded { connections: CONNECTIONS_MAX, seconds: PATIENCE.as_secs() });
            }
            connections =
                self.came_back.wait_timeout(connections, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// A connection that is nobody else's.
    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        let mut client = match &self.tls {
            Some(tls) => self.config.connect(tls.clone())?,
            None => self.config.connect(NoTls)?,
        };
        client.batch_execute(SESSION)?;
        Ok(Connection { client, statements: HashMap::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// TLS with servers whose certificate is good for the system's authorities.
fn checked_tls() -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    if roots.add_parsable_certificates(found.certs).0 == 0 {
        let why = found.errors.first().map_or("there are none".to_owned(), ToString::to_string);
        return Err(StoreError::Tls(why));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has the protocols of today").with_root_certificates(roots).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Tries again what a server that is away, starts or stops, or another transaction broke off.
fn patiently<T>(mut once: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let end = Instant::now() + PATIENCE;
    let mut pause = PAUSES[0];
    loop {
        match once() {
            Err(StoreError::Postgres(error)) if passes(&error) && Instant::now() + pause < end => {
                tracing::warn!(error = %drydock::explain(&error), "the database broke off; trying again");
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSES[1]);
            }
            done => return done,
        }
    }
}

/// Whether an error may be gone with the next try (PostgreSQL documentation, appendix A).
fn passes(error: &postgres::Error) -> bool {
    match error.code() {
        // Connections; serialization, deadlocks; too many connections; the server stops, stopped or starts.
        Some(code) => ["08", "40001", "40P01", "53300", "57P"].iter().any(|class| code.code().starts_with(class)),
        // A certificate that is not good does not become so.
        None => {
            let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
            error.is_closed() || source.is_some_and(|source| source.kind() != std::io::ErrorKind::InvalidData)
        }
    }
}

/// A connection that is given back when it is dropped.
struct Held<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Held<'_> {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("there until it is discarded or dropped")
    }

    /// Does not give it back.
    fn discard(&mut self) {
        self.connection = None;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // What a panic left may be in the middle of a transaction.
        let whole =
            self.connection.take().filter(|connection| !connection.client.is_closed() && !std::thread::panicking());
        let mut connections = self.pool.lock();
        connections.held -= 1;
        connections.idle.extend(whole);
        drop(connections);
        self.pool.came_back.notify_one();
    }
}

/// One connection and the statements that the server knows of it.
pub(super) struct Connection {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Connection {
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(super) fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql)?;
        Ok(self.client.query(&statement, values)?)
    }

    /// The first row, if there is one.
    pub(super) fn first(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// The number of rows that were changed.
    pub(super) fn execute(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let statement = self.statement(sql)?;
        Ok(self.client.execute(&statement, values)?)
    }

    /// Statements without values, several at once.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        Ok(self.client.batch_execute(sql)?)
    }

    fn statement(&mut self, sql: &str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}
