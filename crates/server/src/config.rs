//! `drydock.toml`: every key, what it means, and what it is without the file. Keys of the environment (`DRYDOCK_` and the
//! key in capitals) come before those of the file; a key that nobody knows is an error.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secret::Secret;

/// What an operator can set. All sizes are in bytes, all times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where metrics are served.
    pub metrics_listen: Option<SocketAddr>,
    /// The directory of everything.
    pub data: PathBuf,
    /// The address of the database.
    pub database: Option<Secret>,
    /// What all hosts of the service share beside the database.
    pub objects: Option<String>,
    /// The directory of layers and step results.
    pub cache: Option<PathBuf>,
    /// The OCI runtime.
    pub runtime: Option<PathBuf>,
    /// Parts of the isolation of RUN steps that the host may lack.
    pub allow_missing: Vec<drydock::Missing>,
    /// The network of RUN steps.
    pub network: drydock::NetworkMode,
    /// Internal addresses that they may reach all the same.
    pub allow_addresses: Vec<drydock::AllowedAddress>,
    /// Their resolvers.
    pub dns: Vec<std::net::IpAddr>,
    /// Builds at one time.
    pub builders: usize,
    /// Pending and building templates of one owner.
    pub active_per_owner: u32,
    /// Requests a second of one owner.
    pub requests_per_second: u32,
    /// Requests at once of one owner.
    pub requests_burst: u32,
    /// Size of an image.
    pub disk_size_bytes: u64,
    /// Room beside the content of an image whose request names no size.
    pub disk_headroom_bytes: Option<u64>,
    /// The smallest size that may be asked for.
    pub disk_size_bytes_min: u64,
    /// The largest size that may be asked for.
    pub disk_size_bytes_max: u64,
    /// Images of one owner.
    pub owner_quota_bytes: u64,
    /// All images.
    pub images_quota_bytes: u64,
    /// Copies of images on this host.
    pub image_copies_bytes: u64,
    /// Chunks of images on this host.
    pub chunks_bytes: u64,
    /// Layers that hosts keep for each other.
    pub shared_cache_bytes: u64,
    /// A build as a whole.
    pub build_timeout_seconds: u64,
    /// One RUN step.
    pub step_timeout_seconds: u64,
    /// Memory of a RUN step.
    pub step_memory_bytes: Option<u64>,
    /// Processes of a RUN step.
    pub step_pids: u32,
    /// How long a RUN step that is stopped has to end by itself.
    pub step_grace_seconds: u64,
    /// Bytes a second that a RUN step may read from the disk, and write to it.
    pub step_io_bytes: Option<u64>,
    /// Operations a second of a RUN step on the disk.
    pub step_io_operations: Option<u64>,
    /// Disk of a RUN step.
    pub step_disk_bytes: u64,
    /// The log of one attempt.
    pub log_bytes_max: u64,
    /// How long a worker that says nothing keeps its build.
    pub lease_seconds: u64,
    /// How often an interrupted build begins again.
    pub interruptions_max: u32,
    /// How long an image stays without a template.
    pub image_grace_seconds: u64,
    /// How long builds may go on once the server is asked to stop.
    pub drain_seconds: u64,
    /// The bases that FROM may name.
    pub bases: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        let data = PathBuf::from("drydock-data");
        let service = templates::Config::new(&data);
        let steps = drydock::StepLimits::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: None,
            data,
            database: None,
            objects: None,
            cache: None,
            runtime: None,
            allow_missing: Vec::new(),
            network: drydock::NetworkMode::default(),
            allow_addresses: Vec::new(),
            dns: Vec::new(),
            builders: service.builders,
            active_per_owner: service.active_per_owner,
            requests_per_second: 100,
            requests_burst: 200,
            disk_size_bytes: service.disk_size_bytes,
            disk_headroom_bytes: service.disk_headroom_bytes,
            disk_size_bytes_min: service.disk_size_bytes_min,
            disk_size_bytes_max: service.disk_size_bytes_max,
            owner_quota_bytes: service.owner_quota_bytes,
            images_quota_bytes: service.images_quota_bytes,
            image_copies_bytes: service.image_copies_bytes,
            chunks_bytes: service.chunks_bytes,
            shared_cache_bytes: service.shared_cache_bytes,
            build_timeout_seconds: service.build_timeout.as_secs(),
            step_timeout_seconds: steps.time.as_secs(),
            step_memory_bytes: steps.memory_bytes,
            step_pids: steps.pids,
            step_io_bytes: steps.io_bytes,
            step_io_operations: steps.io_operations,
            step_grace_seconds: steps.grace.as_secs(),
            step_disk_bytes: steps.disk_bytes,
            log_bytes_max: service.log_bytes_max,
            lease_seconds: service.lease.as_secs(),
            interruptions_max: service.interruptions_max,
            image_grace_seconds: service.grace.as_secs(),
            drain_seconds: 20,
            bases: BTreeMap::new(),
        }
    }
}

/// Every key but `bases`: what it means, and what may stand there where it is unset by default.
const KEYS: [(&str, &str, &str); 37] = [
    ("listen", "Where the API listens.", ""),
    ("metrics_listen", "Where Prometheus finds /metrics; nowhere if it is not set.", "\"127.0.0.1:9090\""),
    ("data", "The directory of the database, logs and images.", ""),
    (
        "database",
        "A database of PostgreSQL; a file of SQLite in the data directory if it is not set. sslmode=require checks its certificate.",
        "\"postgres://drydock:PASSWORD@db.example/drydock?sslmode=require\"",
    ),
    (
        "objects",
        "For many hosts with one database: images, logs and layers, in a directory that they mount or in s3://BUCKET/PREFIX (credentials: AWS_*).",
        "\"/srv/drydock/objects\"",
    ),
    (
        "cache",
        "The directory of layers and step results; `cache` in the data directory if it is not set.",
        "\"/var/cache/drydock\"",
    ),
    (
        "runtime",
        "The OCI runtime that runs RUN steps; the first that works of runc, crun, youki, runsc if it is not set.",
        "\"/usr/sbin/runc\"",
    ),
    (
        "allow_missing",
        "Parts of the isolation of RUN steps that this host may lack; builds are refused where others are: [\"cgroups\"].",
        "",
    ),
    (
        "network",
        "The network of RUN steps: egress (the outside alone), none, or host (with all that listens there).",
        "",
    ),
    ("allow_addresses", "Internal addresses that steps with egress may reach all the same: [\"10.1.2.3:8080\"].", ""),
    ("dns", "The resolvers of steps with egress; those of the host if there are none: [\"10.1.2.53\"].", ""),
    ("builders", "Builds at one time on this host; 0 serves the API alone.", ""),
    ("active_per_owner", "Pending and building templates that one owner may have; one more is answered with 429.", ""),
    ("requests_per_second", "Requests that one owner may send a second, in the long run.", ""),
    ("requests_burst", "Requests that one owner may send at once.", ""),
    ("disk_size_bytes", "The size of an image where the request names none.", ""),
    (
        "disk_headroom_bytes",
        "Where it is set, an image whose request names no size has its content and this much room.",
        "268435456",
    ),
    ("disk_size_bytes_min", "The smallest size that a request may name.", ""),
    ("disk_size_bytes_max", "The largest size that a request may name.", ""),
    ("owner_quota_bytes", "What all images of one owner may come to, at their full size.", ""),
    ("images_quota_bytes", "What all images may take of the disk.", ""),
    (
        "image_copies_bytes",
        "With objects: what copies of images may take of this host's disk; those used in the last `image_grace_seconds` stay.",
        "",
    ),
    (
        "chunks_bytes",
        "With objects: what this host keeps of chunks of images on its disk, to fetch only what it lacks.",
        "",
    ),
    ("shared_cache_bytes", "With objects: what hosts keep there of layers of RUN steps for each other.", ""),
    ("build_timeout_seconds", "How long one build may take.", ""),
    ("step_timeout_seconds", "How long one RUN step may take.", ""),
    ("step_memory_bytes", "Memory that one RUN step may use; all of the host's if it is not set.", "2147483648"),
    ("step_pids", "Processes and threads that one RUN step may have at one moment.", ""),
    (
        "step_io_bytes",
        "Bytes that one RUN step may read a second from the disk of the cache, and write to it; no limit if it is not set.",
        "104857600",
    ),
    ("step_io_operations", "The same for reads and writes, counted; no limit if it is not set.", "1000"),
    ("step_grace_seconds", "How long a RUN step that is stopped has to end by itself before it is killed.", ""),
    ("step_disk_bytes", "Disk that one RUN step may fill.", ""),
    ("log_bytes_max", "How large the log of one attempt may become.", ""),
    ("lease_seconds", "How long a worker that is not heard of keeps its build.", ""),
    ("interruptions_max", "How often a build whose host went away begins again.", ""),
    ("image_grace_seconds", "How long an image stays after its last template was deleted.", ""),
    ("drain_seconds", "How long builds may go on once the server is asked to stop; then they begin again later.", ""),
];

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is no TOML, has a key that nobody knows, or a value that is none.
    #[error("{0}")]
    File(#[from] toml::de::Error),
    /// A variable of the environment.
    #[error("the variable {name} of the environment can't be used: {why}")]
    Variable {
        /// Which.
        name: String,
        /// Why not.
        why: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Values(&'static str),
}

impl Config {
    /// The configuration of a file's text and the environment's variables.
    ///
    /// # Errors
    /// What can't be read or does not go together.
    pub fn read(text: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut table: toml::Table = toml::from_str(text)?;
        // The file alone first, so that an error names its line.
        toml::from_str::<Self>(text)?;
        for (name, value) in environment {
            let key = name.strip_prefix("DRYDOCK_").unwrap_or_default().to_lowercase();
            if KEYS.iter().any(|(known, ..)| *known == key) {
                table.insert(key, typed(&value));
                let checked = table.clone().try_into::<Self>();
                checked.map_err(|error| ConfigError::Variable { name, why: error.message().to_owned() })?;
            }
        }
        let config: Self = table.try_into()?;
        config.check()
    }

    fn check(self) -> Result<Self, ConfigError> {
        match &self.objects {
            Some(place) if place.contains("://") && !place.starts_with("s3://") => {
                return Err(ConfigError::Values(
                    "objects has to be a directory that all hosts mount, or s3://BUCKET/PREFIX",
                ));
            }
            Some(_) if self.database.is_none() => {
                return Err(ConfigError::Values("objects is for hosts that share a database: set database too"));
            }
            _ => {}
        }
        let sizes = [self.disk_size_bytes_min, self.disk_size_bytes, self.disk_size_bytes_max];
        if !sizes.is_sorted() {
            return Err(ConfigError::Values(
                "disk_size_bytes has to lie between disk_size_bytes_min and disk_size_bytes_max",
            ));
        }
        if self.lease_seconds == 0 || self.build_timeout_seconds == 0 || self.step_timeout_seconds == 0 {
            return Err(ConfigError::Values(
                "lease_seconds, build_timeout_seconds and step_timeout_seconds have to be 1 or more",
            ));
        }
        if self.step_pids == 0 {
            return Err(ConfigError::Values("step_pids has to be 1 or more"));
        }
        if self.active_per_owner == 0 || self.requests_per_second == 0 || self.requests_burst == 0 {
            return Err(ConfigError::Values(
                "active_per_owner, requests_per_second and requests_burst have to be 1 or more",
            ));
        }
        Ok(self)
    }

    /// The file that says what this configuration says, each key with its meaning.
    #[must_use]
    pub fn print(&self) -> String {
        let table = toml::Table::try_from(self).expect("every value is one of TOML");
        let mut text =
            "# drydock.toml: every key with what it is now. Sizes are in bytes, times in seconds.\n".to_owned();
        text += "# The environment comes first: DRYDOCK_LISTEN and so on.\n";
        for (key, meaning, example) in KEYS {
            let line = match table.get(key) {
                Some(value) if value.as_str() == Some(Secret::SHOWN) => format!("# {key} is set, and not shown"),
                Some(value) => format!("{key} = {value}"),
                None => format!("# {key} = {example}"),
            };
            write!(text, "\n# {meaning}\n{line}\n").expect("a text takes everything");
        }
        text += "\n# The bases that FROM may name, and where they are: oci:DIR:TAG, docker://HOST/NAME:TAG and others.\n[bases]\n";
        if self.bases.is_empty() {
            text += "# \"nodeops/sandbox:debian\" = \"oci:/srv/drydock/base:debian\"\n";
        }
        for (name, place) in &self.bases {
            let [name, place] = [name, place].map(|text| toml::Value::String(text.clone()));
            writeln!(text, "{name} = {place}").expect("a text takes everything");
        }
        text
    }

    /// The part that the service takes.
    #[must_use]
    pub fn service(&self) -> templates::Config {
        templates::Config {
            data: self.data.clone(),
            database: self.database.as_ref().map(|address| address.reveal().to_owned()),
            objects: self.objects.clone(),
            builders: self.builders,
            active_per_owner: self.active_per_owner,
            disk_size_bytes: self.disk_size_bytes,
            disk_headroom_bytes: self.disk_headroom_bytes,
            disk_size_bytes_min: self.disk_size_bytes_min,
            disk_size_bytes_max: self.disk_size_bytes_max,
            owner_quota_bytes: self.owner_quota_bytes,
            images_quota_bytes: self.images_quota_bytes,
            image_copies_bytes: self.image_copies_bytes,
            chunks_bytes: self.chunks_bytes,
            shared_cache_bytes: self.shared_cache_bytes,
            build_timeout: Duration::from_secs(self.build_timeout_seconds),
            lease: Duration::from_secs(self.lease_seconds),
            interruptions_max: self.interruptions_max,
            log_bytes_max: self.log_bytes_max,
            grace: Duration::from_secs(self.image_grace_seconds),
        }
    }

    /// The part that the builder takes, with these bases.
    #[must_use]
    pub fn builder(&self, bases: Vec<drydock::Base>) -> templates::DrydockBuilder {
        let cache = self.cache.clone().unwrap_or_else(|| self.data.join("cache"));
        let mut builder = templates::DrydockBuilder::new(bases, cache);
        builder.runtime.clone_from(&self.runtime);
        builder.allow_missing.clone_from(&self.allow_missing);
        builder.network.mode = self.network;
        builder.network.allow.clone_from(&self.allow_addresses);
        builder.network.dns.clone_from(&self.dns);
        builder.step_limits.time = Duration::from_secs(self.step_timeout_seconds);
        builder.step_limits.memory_bytes = self.step_memory_bytes;
        builder.step_limits.pids = self.step_pids;
        builder.step_limits.io_bytes = self.step_io_bytes;
        builder.step_limits.io_operations = self.step_io_operations;
        builder.step_limits.grace = Duration::from_secs(self.step_grace_seconds);
        builder.step_limits.disk_bytes = self.step_disk_bytes;
        builder
    }
}

/// A value of the environment: a number or a list where it is one, else a text.
fn typed(value: &str) -> toml::Value {
    let list = || value.starts_with('[').then(|| value.parse().ok())?;
    value.parse().map(toml::Value::Integer).ok().or_else(list).unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::read(text, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_printed_is_what_is_read() {
        let mut config = Config { metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 1))), ..Config::default() };
        config.bases.insert("a\"b:c".to_owned(), "oci:/x y:z".to_owned());
        for config in [Config::default(), config] {
            assert_eq!(read(&config.print(), &[]), Ok(config));
        }
    }

    #[test]
    fn every_key_is_documented() {
        let full = Config {
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 1))),
            database: Some("postgres://a".to_owned().into()),
            objects: Some("o".into()),
            cache: Some("c".into()),
            runtime: Some("r".into()),
            step_memory_bytes: Some(1),
            step_io_bytes: Some(1),
            step_io_operations: Some(1),
            disk_headroom_bytes: Some(1),
            ..Config::default()
        };
        let table = toml::Table::try_from(full).unwrap();
        let mut keys: Vec<&str> = table.keys().map(String::as_str).filter(|key| *key != "bases").collect();
        let mut documented = KEYS.map(|(key, ..)| key);
        keys.sort_unstable();
        documented.sort_unstable();
        assert_eq!(keys, documented);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let config = read("database = 'postgres://a:hidden@b/c'", &[]).unwrap();
        assert_eq!(config.service().database.as_deref(), Some("postgres://a:hidden@b/c"));
        let shown = format!("{config:?}{}", config.print());
        assert!(!shown.contains("hidden") && shown.contains("# database is set"), "{shown}");
        assert_eq!(read(&config.print(), &[]).unwrap().database, None);
    }

    #[test]
    fn the_environment_comes_first_and_mistakes_are_named() {
        let environment = [("DRYDOCK_BUILDERS", "7"), ("DRYDOCK_DATA", "/d"), ("OTHER", "1"), ("DRYDOCK_LOG", "info")];
        let config = read("builders = 1", &environment).unwrap();
        assert_eq!((config.builders, config.data), (7, PathBuf::from("/d")));
        let config = read("", &[("DRYDOCK_ALLOW_MISSING", "[\"cgroups\"]")]).unwrap();
        assert_eq!(config.allow_missing, [drydock::Missing::Cgroups]);
        assert!(read("allow_missing = ['walls']", &[]).unwrap_err().contains("walls"));
        assert!(read("builder = 1", &[]).unwrap_err().contains("unknown field `builder`"));
        assert!(read("builders = 'x'", &[]).unwrap_err().contains("line 1"));
        assert!(read("", &[("DRYDOCK_BUILDERS", "x")]).unwrap_err().contains("DRYDOCK_BUILDERS"));
        assert!(read("disk_size_bytes = 1", &[]).unwrap_err().contains("disk_size_bytes_min"));
        assert!(read("objects = 'o'", &[]).unwrap_err().contains("set database"));
        assert!(read("objects = 'gs://o'\ndatabase = 'postgres://a'", &[]).unwrap_err().contains("s3://BUCKET"));
        assert!(read("lease_seconds = 0", &[]).unwrap_err().contains("1 or more"));
    }
}
