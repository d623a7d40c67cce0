//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use dockerfile::reference::Reference;

use crate::file_system::FileSystem;
use crate::file_system::Placement;
use crate::size::{parse_bytes, parse_size};

/// What `--help` and the manual say last.
const AFTER: &str = "Progress goes to standard error, results to standard output. Exit status: 0 done, 1 the input was refused or the build \
                     failed, 2 the command line was wrong, 128 + n ended by signal n. DRYDOCK_LOG=info shows what happens inside.";

/// A Dockerfile and a base image in, a bootable ext4 root file system out. No daemon.
#[derive(Debug, Parser)]
#[command(name = "drydock", version, propagate_version = true, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether a Dockerfile is accepted, with every problem at once.
    Check(Check),
    /// Print the syntax tree of a Dockerfile.
    Parse(Parse),
    /// Print the steps a build would run and the config of the image; nothing runs.
    Plan(Plan),
    /// Build a Dockerfile to an ext4 image.
    Build(Box<Build>),
    /// Work with images: import, inspect, ls, diff, flatten, ext4.
    #[command(subcommand)]
    Image(Image),
    /// Serve the HTTP API of templates.
    Serve(Serve),
    /// Make, list and revoke the API keys of a server's data.
    #[command(subcommand)]
    Key(Key),
    /// Work with the templates of a server.
    Template(Template),
    /// Say what this host can and cannot do, and how to mend it.
    Doctor(Doctor),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of all commands to a directory, one file each.
    Manpages {
        /// The directory, such as /usr/local/share/man/man1; it is made if it is not there.
        dir: PathBuf,
    },
}

/// Where the configuration of a server is.
#[derive(Debug, Args)]
pub(crate) struct Configuration {
    /// The configuration; `drydock.toml` in this directory if there is one, else the defaults.
    #[arg(long, value_name = "FILE", env = "DRYDOCK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The directory of the database, logs and images; before that of the configuration.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) configuration: Configuration,
    /// Where to listen; before that of the configuration.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// A base image that FROM may name and where it is: `nodeops/sandbox:debian=oci:DIR:TAG` (again for more).
    #[arg(long = "base", value_name = "NAME=REF")]
    pub(crate) bases: Vec<String>,
    /// What this host does, of many with one database and one directory of objects.
    #[arg(long, value_name = "ROLE", env = "DRYDOCK_ROLE", default_value = "all")]
    pub(crate) role: Role,
    /// A part of the isolation of RUN steps that this host may lack: cgroups, loop-devices, user-namespaces (again for more). Beside those of the configuration.
    #[arg(long = "allow-missing", value_name = "PART", value_parser = parse_missing)]
    pub(crate) allow_missing: Vec<drydock::Missing>,
    /// Print the configuration as it would be used, every key explained, and end.
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// What a host of the service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Answers the API and builds nothing.
    Api,
    /// Builds and answers nothing.
    Builder,
    /// Both.
    All,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key; it is printed once and never again.
    Create {
        #[command(flatten)]
        configuration: Configuration,
        /// Whose key: 1 to 64 letters, digits and `.`, `_`, `@`, `-`.
        #[arg(long, value_parser = parse_owner)]
        owner: templates::Owner,
    },
    /// List the keys, without their secrets.
    List {
        #[command(flatten)]
        configuration: Configuration,
    },
    /// Revoke a key at once.
    Revoke {
        #[command(flatten)]
        configuration: Configuration,
        /// Its id, as listed.
        id: String,
    },
}

/// Which server, as whom, and how answers are written.
#[derive(Debug, Args)]
pub(crate) struct Template {
    /// The server, as http://127.0.0.1:8080; else `url` in ~/.config/drydock/client.toml.
    #[arg(long, global = true, env = "DRYDOCK_URL")]
    pub(crate) url: Option<String>,
    /// The API key; else `key` in ~/.config/drydock/client.toml. Others see the arguments of a program: prefer the environment.
    #[arg(long, global = true, env = "DRYDOCK_API_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Answers as JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: TemplateVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateVerb {
    /// Build a template and show its steps until it is ready.
    Create {
        /// Its name.
        name: String,
        /// The Dockerfile; `-` is standard input.
        #[arg(short = 'f', long = "file", value_name = "DOCKERFILE", default_value = "Dockerfile")]
        dockerfile: PathBuf,
        /// The exact size of the image, as `512MiB`, `1GiB` or bytes.
        #[arg(long, value_parser = parse_bytes)]
        size: Option<u64>,
        /// Run every step, even those whose result is known.
        #[arg(long)]
        no_cache: bool,
        /// Say what a build would do, and make nothing.
        #[arg(long, conflicts_with = "detach")]
        dry_run: bool,
        /// End once the build is queued.
        #[arg(long)]
        detach: bool,
    },
    /// List your templates, newest first.
    #[command(visible_alias = "ls")]
    List,
    /// Show one template.
    Get {
        /// Its id, a name, or name@N.
        id: String,
        /// Show the Dockerfile too.
        #[arg(long)]
        dockerfile: bool,
    },
    /// Print the log of a build, to its end.
    Logs {
        /// Its id or a name.
        id: String,
        /// Only what there is so far.
        #[arg(long)]
        no_follow: bool,
        /// Begin with the line of this number.
        #[arg(long, default_value_t)]
        since: u64,
        /// Only this attempt.
        #[arg(long)]
        attempt: Option<u32>,
    },
    /// Delete templates.
    Rm {
        /// Their ids or names.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// End a build.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Say which image a sandbox of this name boots, and with what config.
    Resolve {
        /// Its id, a name, or name@N.
        id: String,
    },
    /// Get the image that a sandbox of this name boots; of it only the chunks that this host lacks.
    Fetch {
        /// Its id, a name, or name@N.
        id: String,
        /// The image; it is there once it is complete, and then its config beside it: rootfs.config.json for rootfs.ext4.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// The chunks that this host has, of all images. Any number of processes may use it at once.
        #[arg(long, value_name = "DIR", env = "DRYDOCK_CHUNKS", default_value = "/var/cache/drydock/chunks")]
        cache: PathBuf,
        /// The most bytes of chunks to keep: what was used least recently goes first.
        #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "10GiB")]
        cache_size: u64,
        /// Requests at once, and threads that verify.
        #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
        threads: u16,
    },
}

/// Which rules a Dockerfile is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The service's: a strict subset, with its restrictions.
    #[default]
    Strict,
    /// BuildKit's own, without any restriction.
    Buildkit,
}

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Human,
    /// JSON.
    Json,
}

/// A Dockerfile and the rules for it.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The Dockerfile; `-` is standard input.
    pub(crate) dockerfile: PathBuf,
    /// Which rules it is held to.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) mode: Mode,
    /// A base image that FROM may name (again for more). Without it: nodeops/sandbox:debian and nodeops/sandbox:alpine.
    #[arg(long = "allow-base", value_name = "REF", value_parser = parse_reference)]
    pub(crate) allow_base: Vec<Reference>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) source: Source,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: CheckFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Parse {
    #[command(flatten)]
    pub(crate) source: Source,
    /// How the tree is written.
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The base image's config: an OCI image config, or its `config` object alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) base_config: Option<PathBuf>,
    /// A base image and where it is, as `drydock build` takes it (again for more): says of each step whether its result is kept
    /// in the state directory and, if not, what changed.
    #[arg(long = "base", value_name = "NAME=REF", conflicts_with = "base_config")]
    pub(crate) bases: Vec<String>,
    /// The state directory of the builds.
    #[arg(long, value_name = "DIR", env = "DRYDOCK_STATE", default_value = "/var/cache/drydock")]
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// A build argument (again for more).
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    pub(crate) build_args: Vec<String>,
    /// How the plan is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Where Drydock keeps layers, root directories and step results between runs.
#[derive(Debug, Args)]
pub(crate) struct State {
    /// The directory for layers and step results that are kept between runs.
    #[arg(long = "state", value_name = "DIR", env = "DRYDOCK_STATE", default_value = "/var/cache/drydock")]
    pub(crate) dir: PathBuf,
    /// How many threads work; all cores without it. The result is the same at any number.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

/// Which image of a place is meant, and how registries are spoken to.
#[derive(Debug, Args)]
pub(crate) struct Sources {
    /// Which image of several is meant, as `linux/arm64`; that of this machine without it.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<drydock::Platform>,
    /// A mirror that is asked before a registry: `docker.io=https://mirror.example` (again for more, in order).
    #[arg(long = "mirror", value_name = "HOST=URL", env = "DRYDOCK_MIRRORS", value_delimiter = ',')]
    pub(crate) mirrors: Vec<String>,
    /// Ask the mirrors alone, where a registry has any.
    #[arg(long)]
    pub(crate) mirrors_only: bool,
    /// A registry that is spoken to without TLS, with its port (again for more).
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    pub(crate) insecure: Vec<String>,
    /// A PEM file of more certificate authorities to trust.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Docker's directory of credentials; ~/.docker without it.
    #[arg(long, value_name = "DIR", env = "DOCKER_CONFIG")]
    pub(crate) docker_config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The Dockerfile; `-` is standard input.
    #[arg(short = 'f', long = "file", value_name = "DOCKERFILE", default_value = "Dockerfile")]
    pub(crate) dockerfile: PathBuf,
    /// A base image that FROM may name and where it is: `nodeops/sandbox:debian=oci:DIR:TAG` (again for more).
    #[arg(long = "base", value_name = "NAME=REF", required = true)]
    pub(crate) bases: Vec<String>,
    /// The exact size of the image, as `512MiB`, `1GiB` or bytes, or `auto`: as small as possible with 64 MiB free.
    #[arg(long, default_value = "512MiB", value_parser = parse_size)]
    pub(crate) size: drydock::ImageSize,
    /// Where files go in the image.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) placement: Placement,
    /// Where the image goes; what a host has to know of it goes beside it, as `.json`.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Keep the built image as an OCI layout too; the tag is `latest` without one.
    #[arg(long, value_name = "DIR[:TAG]")]
    pub(crate) oci: Option<String>,
    /// A build argument (again for more).
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    pub(crate) build_args: Vec<String>,
    #[command(flatten)]
    pub(crate) sources: Sources,
    #[command(flatten)]
    pub(crate) state: State,
    /// Run every step, even those whose result is known.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Use no result of a step that is older than this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) cache_max_age: Option<Duration>,
    /// Seconds since 1970: commands see it and no new file is younger, so that builds can be repeated byte for byte.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    pub(crate) source_date_epoch: Option<i64>,
    /// The OCI runtime that runs RUN steps; the first that works of runc, crun, youki, runsc without it.
    #[arg(long, value_name = "PATH")]
    pub(crate) runtime: Option<PathBuf>,
    /// A part of the isolation of RUN steps that this host may lack: cgroups, loop-devices, user-namespaces (again for more). Without it that is an error.
    #[arg(long = "allow-missing", value_name = "PART", value_parser = parse_missing)]
    pub(crate) allow_missing: Vec<drydock::Missing>,
    /// The network of RUN steps: `egress`, the outside alone; `none`; `host`, with everything that listens there.
    #[arg(long, value_name = "MODE", default_value = "egress", value_parser = parse_network)]
    pub(crate) network: drydock::NetworkMode,
    /// An internal address that RUN steps may reach all the same: `10.1.2.3:8080`, `10.1.0.0/16` (again for more).
    #[arg(long = "allow-address", value_name = "CIDR[:PORT]", value_parser = parse_address)]
    pub(crate) allow_addresses: Vec<drydock::AllowedAddress>,
    /// A resolver for RUN steps; those of the host without it (again for more).
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Memory that a RUN step may use.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// Processes and threads that each RUN step may have at one moment.
    #[arg(long, default_value_t = 4_096, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: u32,
    /// Bytes that a RUN step may read a second from the disk of the state directory, and write to it.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) io_bytes: Option<u64>,
    /// How often it may read from that disk in a second, and write to it.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) io_operations: Option<u64>,
    /// Disk that a RUN step may fill.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) disk: Option<u64>,
    /// Seconds that a RUN step may take.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) step_timeout: Option<Duration>,
    /// Seconds that the whole build may take.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Seconds that a command which is stopped may take to end after SIGTERM; 0: killed at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=3_600))]
    pub(crate) stop_grace: u64,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Make an image of one layer from a tar of a root file system.
    Import {
        /// The tar; `-` is standard input.
        tar: String,
        /// Where the image goes: `oci:DIR:TAG`.
        reference: String,
        #[command(flatten)]
        state: State,
    },
    /// Print digest, config and layers of an image.
    Inspect {
        /// `docker://HOST/NAME[:TAG]`, `oci:DIR[:TAG]`, `oci-archive:FILE`, `docker-archive:FILE` or a tar.
        reference: String,
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        state: State,
        /// How it is written.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the files of an image, all layers merged.
    Ls {
        /// As for inspect.
        reference: String,
        /// How it is written; JSON is one object a line.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Add the SHA-256 of every file; JSON alone has it.
        #[arg(long)]
        sha256: bool,
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        state: State,
    },
    /// Say what the files of one image have that those of another have not, the largest first.
    Diff {
        /// The image before, as for inspect.
        before: String,
        /// The image after.
        after: String,
        /// How it is written; JSON is one object a line.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        state: State,
    },
    /// Write the files of an image, all layers merged, as one tar.
    Flatten {
        /// As for inspect.
        reference: String,
        /// Where the tar goes; standard output without it.
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        state: State,
    },
    /// Write the files of an image, all layers merged, as an ext4 image.
    Ext4 {
        /// As for inspect.
        reference: String,
        /// Where the image goes.
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        file_system: FileSystem,
        /// Leave blocks of zeros in files out: the image takes less disk, and such files are sparse.
        #[arg(long)]
        dig_holes: bool,
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        state: State,
    },
    /// Check the checksums and the structure of an ext4 image: every block, inode and name of it.
    Verify {
        /// The image.
        image: PathBuf,
        /// How the report is written.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) state: State,
    /// The OCI runtime to look at; runc, crun, youki and runsc without it.
    #[arg(long, value_name = "PATH")]
    pub(crate) runtime: Option<PathBuf>,
    /// A part of the isolation of RUN steps that this host may lack: cgroups, loop-devices, user-namespaces (again for more). Without it that is an error.
    #[arg(long = "allow-missing", value_name = "PART", value_parser = parse_missing)]
    pub(crate) allow_missing: Vec<drydock::Missing>,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

fn parse_missing(text: &str) -> Result<drydock::Missing, String> {
    text.parse()
}

fn parse_owner(text: &str) -> Result<templates::Owner, String> {
    text.parse().map_err(|error: templates::Invalid| error.to_string())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| format!("'{text}' is not a whole number of seconds"))?;
    if seconds == 0 { Err("at least one second is needed".to_owned()) } else { Ok(Duration::from_secs(seconds)) }
}

fn parse_reference(text: &str) -> Result<Reference, String> {
    Reference::parse(text).map_err(|error| error.to_string())
}

fn parse_network(text: &str) -> Result<drydock::NetworkMode, String> {
    text.parse()
}

fn parse_address(text: &str) -> Result<drydock::AllowedAddress, String> {
    text.parse()
}
