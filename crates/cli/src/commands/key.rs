//! `drydock key`: the API keys in a server's database, whether the server runs or not.

use std::process::ExitCode;

use anyhow::{Context, bail};
use templates::store::{self, Store};
use templates::{Clock, SystemClock};

use crate::args::{Configuration, Key};
use crate::commands::serve::configuration;
use crate::output::line;

pub(crate) fn run(args: &Key) -> anyhow::Result<ExitCode> {
    match args {
        Key::Create { configuration, owner } => {
            let key = templates::create_key(open(configuration)?.as_ref(), owner, SystemClock.now())?;
            line(format_args!("{}", key.reveal()))?;
            eprintln!("this key of {owner} is shown once; its id is {}", key.id());
        }
        Key::List { configuration } => {
            for key in open(configuration)?.keys()? {
                let revoked = key.revoked_at.map(|at| format!("  revoked {}", at.seconds())).unwrap_or_default();
                line(format_args!("{}  {}  {}{revoked}", key.id, key.created_at.seconds(), key.owner))?;
            }
        }
        Key::Revoke { configuration, id } => {
            if !open(configuration)?.revoke_key(id, SystemClock.now())? {
                bail!("there is no key '{id}' that could be revoked; `drydock key list` shows them");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(args: &Configuration) -> anyhow::Result<Box<dyn Store>> {
    let config = configuration(args)?.service();
    if config.database.is_none() {
        templates::make_data(&config.data).with_context(|| format!("can't make {}", config.data.display()))?;
    }
    store::open(&config.data, config.database.as_deref()).context("can't open the database")
}
