//! What an operator decides.

use std::path::PathBuf;
use std::time::Duration;

/// How the service behaves. [`Config::new`] gives the defaults; each field may then be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database, logs and images are.
    pub data: PathBuf,
    /// The `postgres://` address of the database. Default: none, a file of SQLite in `data`.
    pub database: Option<String>,
    /// Where images and logs of all hosts with the same database are: a directory that they mount, or `s3://BUCKET/PREFIX`.
    /// Default: none, for a host alone.
    pub objects: Option<String>,
    /// Builds at one time on this host. Default: 2. 0 builds nothing here.
    pub builders: usize,
    /// Pending and building templates of one owner. Default: 2.
    pub active_per_owner: u32,
    /// Size of an image that asks for none, in bytes. Default: 512 MiB.
    pub disk_size_bytes: u64,
    /// Where it is given, an image that asks for no size has its content and this many bytes more, and the size above is
    /// what it is counted as until it is built. Default: none.
    pub disk_headroom_bytes: Option<u64>,
    /// The smallest size that may be asked for. Default: 16 MiB.
    pub disk_size_bytes_min: u64,
    /// The largest size that may be asked for. Default: 16 GiB.
    pub disk_size_bytes_max: u64,
    /// Bytes of all images of one owner, at their full size. Default: 256 GiB.
    pub owner_quota_bytes: u64,
    /// Bytes that all images together may take of the disk. Default: 1 TiB.
    pub images_quota_bytes: u64,
    /// Wall time of one build. Default: 2 hours.
    pub build_timeout: Duration,
    /// How long a worker that says nothing keeps its build. Default: 30 s.
    pub lease: Duration,
    /// How often a build that was interrupted is begun again. Default: 2.
    pub interruptions_max: u32,
    /// Bytes of log of one attempt. Default: 32 MiB.
    pub log_bytes_max: u64,
    /// Bytes of the disk that copies of images take on this host, where there are `objects`; those that were used within [`Config::grace`],
    /// or a minute, stay. Default: 256 GiB.
    pub image_copies_bytes: u64,
    /// Bytes of chunks that are kept on this host to make images of, where there are `objects`. Default: 8 GiB.
    pub chunks_bytes: u64,
    /// Bytes of layers of steps that hosts keep for each other among the objects. Default: 100 GiB.
    pub shared_cache_bytes: u64,
    /// How long an image stays that no template has any more. Default: 1 hour.
    pub grace: Duration,
}

impl Config {
    /// The defaults, with everything in `data`.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            database: None,
            objects: None,
            builders: 2,
            active_per_owner: 2,
            disk_size_bytes: 512 << 20,
            disk_headroom_bytes: None,
            disk_size_bytes_min: 16 << 20,
            disk_size_bytes_max: 16 << 30,
            owner_quota_bytes: 256 << 30,
            images_quota_bytes: 1 << 40,
            build_timeout: Duration::from_secs(7_200),
            lease: Duration::from_secs(30),
            interruptions_max: 2,
            log_bytes_max: 32 << 20,
            image_copies_bytes: 256 << 30,
            chunks_bytes: 8 << 30,
            shared_cache_bytes: 100 << 30,
            grace: Duration::from_secs(3_600),
        }
    }
}
