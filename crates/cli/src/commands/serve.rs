//! `drydock serve`: the HTTP API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use drydock::Base;
use server::config::Config;
use templates::{Builder, Owner, Templates};
use tokio::net::TcpListener;

use crate::args::{Configuration, Role, Serve};
use crate::commands::build::base;
use crate::output::line;
use crate::signals::Signals;

/// Whose the first key is.
const FIRST_OWNER: &str = "default";

/// Threads that ask the store and read logs: what they do takes microseconds, and each keeps memory of its own.
const BLOCKING_THREADS: usize = 32;

/// How often is looked for a signal.
const LOOK: Duration = Duration::from_millis(50);

/// The configuration that is used without a name, if it is there.
const FILE: &str = "drydock.toml";

pub(crate) fn run(args: &Serve) -> anyhow::Result<ExitCode> {
    let mut config = configuration(&args.configuration)?;
    config.listen = args.listen.unwrap_or(config.listen);
    config.allow_missing.extend(&args.allow_missing);
    for text in &args.bases {
        let Some((name, place)) = text.split_once('=') else {
            bail!("a base is given as NAME=REF, as in nodeops/sandbox:debian=oci:DIR:TAG; '{text}' is none");
        };
        config.bases.insert(name.to_owned(), place.to_owned());
    }
    if args.role == Role::Api {
        config.builders = 0;
    }
    if args.role != Role::All && config.objects.is_none() {
        bail!("--role is for hosts that share a database and objects: set both in the configuration");
    }
    if args.print_config {
        line(format_args!("{}", config.print().trim_end()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let bases: Vec<Base> =
        config.bases.iter().map(|(name, place)| base(&format!("{name}={place}"))).collect::<anyhow::Result<_>>()?;
    if bases.is_empty() {
        eprintln!(
            "warning: no base image is configured, so every Dockerfile is refused; give one with --base NAME=REF"
        );
    }
    let signals = Signals::catch()?;
    // What was answered stays true even then.
    Signals::end_on_second()?;
    let builder = config.builder(bases);
    if config.builders > 0
        && let Err(why) = builder.ready()
    {
        eprintln!("warning: no RUN step can run on this host: {why}");
    }
    let templates = Templates::open(config.service(), builder)
        .with_context(|| format!("can't open the data directory {}", config.data.display()))?;
    let drain = Duration::from_secs(config.drain_seconds);
    // Before the runtime: the client of PostgreSQL must not wait inside one.
    if args.role != Role::Builder {
        first_key(&templates)?;
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
    let app = server::App::new(templates.clone(), config.requests_per_second, config.requests_burst);
    let stop = async {
        while !signals.cancel().is_cancelled() {
            tokio::time::sleep(LOOK).await;
        }
        eprintln!("stopping; builds have {} seconds (once more to stop at once)", drain.as_secs());
    };
    runtime.block_on(async {
        let metrics = match config.metrics_listen {
            Some(address) => Some(listen(address, "`metrics_listen`").await?),
            None => None,
        };
        if let Some(listener) = &metrics {
            line(format_args!("metrics on http://{}/metrics", listener.local_addr()?))?;
        }
        if args.role == Role::Builder {
            line(format_args!("building; other hosts answer the API"))?;
            templates.start();
            server::serve_builder(app, metrics, drain, stop).await;
        } else {
            let api = listen(config.listen, "--listen or `listen`").await?;
            line(format_args!("listening on http://{}", api.local_addr()?))?;
            templates.start();
            server::serve(app, server::Listeners { api, metrics }, drain, stop).await;
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("can't listen on {address}; {key} chooses another place"))
}

/// The configuration that was named, that of this directory, or the defaults; with the data directory of the arguments.
pub(crate) fn configuration(args: &Configuration) -> anyhow::Result<Config> {
    let path = args.config.clone().or_else(|| Path::new(FILE).exists().then(|| PathBuf::from(FILE)));
    let text = match &path {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?,
        None => String::new(),
    };
    let name = path.as_deref().unwrap_or(Path::new("the configuration")).display().to_string();
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::read(&text, variables).with_context(|| format!("{name} can't be used"))?;
    if let Some(data) = &args.data {
        config.data.clone_from(data);
    }
    Ok(config)
}

/// Who serves for the first time needs a key to begin with.
fn first_key(templates: &Templates) -> anyhow::Result<()> {
    if templates.keys()?.is_empty() {
        let owner: Owner = FIRST_OWNER.parse()?;
        let key = templates.create_key(&owner)?;
        line(format_args!("the first key, shown this once: {}", key.reveal()))?;
    }
    Ok(())
}
