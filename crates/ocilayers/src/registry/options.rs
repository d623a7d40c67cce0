//! How registries are spoken to. Nothing is read from the environment unless whoever calls says so.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How registries are spoken to: TLS, credentials, mirrors, patience.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Mirrors of a registry by its host, as URLs (`https://mirror.example/prefix`), asked in this order before the registry
    /// itself. Default: none.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Ask the mirrors alone, where a registry has any. Default: no.
    pub mirrors_only: bool,
    /// Hosts, with their ports, that are spoken to without TLS. Default: none, not even this machine.
    pub insecure: Vec<String>,
    /// A PEM file of more certificate authorities than those of the web. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Ask through the proxies that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, not for `NO_PROXY`).
    /// Default: no.
    pub proxies_of_environment: bool,
    /// Credentials by host; they count for more than those of [`Self::docker_config`].
    pub credentials: BTreeMap<String, Credentials>,
    /// Docker's `config.json` with credentials and credential helpers. Default: none.
    pub docker_config: Option<PathBuf>,
    /// How long a connection may take. Default: 10 s.
    pub connect_deadline: Duration,
    /// How long nothing may come. Default: 30 s.
    pub stall_deadline: Duration,
    /// How often a request is made again, and a download resumed without having got on by 1 MiB. Default: 5.
    pub retries: u32,
    /// The longest time that a registry may ask to wait for (`Retry-After`). Default: 60 s.
    pub retry_after_max: Duration,
    /// Set to `true` by another thread to stop.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            mirrors: BTreeMap::new(),
            mirrors_only: false,
            insecure: Vec::new(),
            ca_file: None,
            proxies_of_environment: false,
            credentials: BTreeMap::new(),
            docker_config: None,
            connect_deadline: Duration::from_secs(10),
            stall_deadline: Duration::from_secs(30),
            retries: 5,
            retry_after_max: Duration::from_secs(60),
            cancel: None,
        }
    }
}

impl RegistryOptions {
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

/// Who asks. Never shown: not by `Debug`, not in an error.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that others are given for (`identitytoken` of Docker's config).
    Identity(String),
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}
