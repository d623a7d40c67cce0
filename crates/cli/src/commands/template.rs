//! `drydock template`: the templates of a server.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Context;
use attohttpc::Method;
use dockerfile::render::visible;
use imagechunks::Cache;
use serde_json::{Value, json};

use crate::args::{Template, TemplateVerb};
use crate::client::{Client, Lines, LogEvent};
use crate::commands::fetch::Fetch;
use crate::output::{line, read_bounded};
use crate::signals::Signals;
use crate::size::display_bytes;
use crate::steps::Steps;

/// The largest Dockerfile that is sent: over the limit of the service, so that the refusal is the service's.
const DOCKERFILE_BYTES_MAX: u64 = 128 << 10;

/// Templates of one request of a list.
const PAGE: u64 = 500;

/// How long the end of a build is waited for once its log has ended.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Template) -> anyhow::Result<ExitCode> {
    let client = Client::new(args.url.as_deref(), args.key.as_deref())?;
    match &args.verb {
        TemplateVerb::Create { name, dockerfile, size, no_cache, dry_run, detach } => {
            let text = String::from_utf8_lossy(&read_bounded(dockerfile, DOCKERFILE_BYTES_MAX)?).into_owned();
            let mut body = json!({ "name": name, "dockerfile": text, "no_cache": no_cache });
            if let Some(size) = size {
                body["disk_size_bytes"] = (*size).into();
            }
            if *dry_run {
                return plan(args, &client.call(Method::POST, "/v1/templates?dry_run=true", Some(&body), &[])?);
            }
            create(args, &client, &body, *detach, dockerfile)
        }
        TemplateVerb::List => list(args, &client),
        TemplateVerb::Get { id, dockerfile } => {
            let include = if *dockerfile { "?include=dockerfile" } else { "" };
            let template = client.call(Method::GET, &format!("{}{include}", path(id)), None, &[])?;
            show(args, &template)?;
            Ok(ExitCode::SUCCESS)
        }
        TemplateVerb::Logs { id, no_follow, since, attempt } => {
            logs(&client, id, Lines { follow: !no_follow, since: *since, attempt: *attempt })
        }
        TemplateVerb::Rm { ids } => {
            for id in ids {
                let gone = client.call(Method::DELETE, &path(id), None, &[])?;
                answer(args, &gone, &format!("{} is gone", text(&gone, "id")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        TemplateVerb::Cancel { id } => {
            let template = client.call(Method::POST, &format!("{}/cancel", path(id)), None, &[])?;
            answer(args, &template, &format!("the build of {} ends", text(&template, "id")))?;
            Ok(ExitCode::SUCCESS)
        }
        TemplateVerb::Resolve { id } => {
            let resolved = client.call(Method::GET, &format!("{}/resolve", path(id)), None, &[])?;
            let human = format!(
                "{}  {}  {}  sha256:{}\n{}",
                text(&resolved, "id"),
                text(&resolved, "name"),
                resolved["ext4_size_bytes"],
                text(&resolved, "rootfs_sha256"),
                serde_json::to_string_pretty(&resolved["config"]["config"])?
            );
            answer(args, &resolved, &human)?;
            Ok(ExitCode::SUCCESS)
        }
        TemplateVerb::Fetch { id, output, cache, cache_size, threads } => {
            let cache = Cache::open(cache, *cache_size)?;
            let fetch = Fetch { client: &client, id, output, cache: &cache, threads: usize::from(*threads) };
            let signals = Signals::catch()?;
            match fetch.run(signals.cancel()) {
                Err(error) if matches!(error.downcast_ref(), Some(imagechunks::Error::Cancelled)) => {
                    eprintln!("cancelled; what was fetched stays in the cache");
                    Ok(signals.exit_code())
                }
                fetched => {
                    let (value, human) = fetched?;
                    answer(args, &value, &human)?;
                    Ok(ExitCode::SUCCESS)
                }
            }
        }
    }
}

/// The path of a template; what a name can't have is encoded, and so never leaves its segment.
pub(super) fn path(id: &str) -> String {
    let encoded: String = id
        .bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-_@".contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("/v1/templates/{encoded}")
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

/// The answer as JSON, or what it says to people, without anything that a terminal would obey.
fn answer(args: &Template, value: &Value, human: &str) -> anyhow::Result<()> {
    if args.json {
        line(format_args!("{}", serde_json::to_string_pretty(value)?))?;
    } else {
        line(format_args!("{}", for_terminal(human)))?;
    }
    Ok(())
}

fn for_terminal(text: &str) -> String {
    visible::lines(text).into_owned()
}

fn create(args: &Template, client: &Client, body: &Value, detach: bool, dockerfile: &Path) -> anyhow::Result<ExitCode> {
    // A name of this request, so that sending it again makes nothing twice.
    let key = ulid::Ulid::generate().to_string();
    let created = client.call(Method::POST, "/v1/templates", Some(body), &[("Idempotency-Key", &key)]);
    let created = created.with_context(|| format!("{} was not taken", dockerfile.display()))?;
    let id = text(&created, "id").to_owned();
    if detach {
        answer(args, &created, &id)?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{id} is queued");
    match watch(client, &id)? {
        Watched::Ended => {}
        Watched::Detached => {
            eprintln!("the build goes on; see it with: drydock template logs {id}");
            return Ok(ExitCode::from(130));
        }
    }
    let template = client.call(Method::GET, &path(&id), None, &[])?;
    show(args, &template)?;
    Ok(if text(&template, "status") == "ready" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How watching ended.
enum Watched {
    Ended,
    Detached,
}

/// Shows the log of a build until it ends, or until the user has seen enough.
fn watch(client: &Client, id: &str) -> anyhow::Result<Watched> {
    let signals = Signals::catch()?;
    let (send, lines) = channel::<anyhow::Result<LogEvent>>();
    let (reader, template) = (client.clone(), path(id));
    std::thread::spawn(move || {
        let gone = || anyhow::anyhow!("nobody looks any more");
        let all = Lines { follow: true, since: 0, attempt: None };
        let done = reader.logs(&template, all, &mut |event| send.send(Ok(event)).map_err(|_| gone()));
        // A receiver that is gone wants no last word.
        drop(send.send(done.map(Option::unwrap_or_default)));
    });
    let mut steps = Steps::new();
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(event) => {
                let event = event?;
                if event.r#final.is_some() {
                    steps.done(event.status == "ready")?;
                    return Ok(Watched::Ended);
                }
                steps.piece(&event.stream)?;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(Watched::Ended),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if signals.came() {
            match ask()? {
                Choice::Detach => return Ok(Watched::Detached),
                Choice::Cancel => drop(client.call(Method::POST, &format!("{}/cancel", path(id)), None, &[])?),
                Choice::GoOn => {}
            }
        }
    }
}

/// What to do with a build whose user pressed Ctrl-C.
enum Choice {
    Detach,
    Cancel,
    GoOn,
}

fn ask() -> anyhow::Result<Choice> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(Choice::Detach);
    }
    eprint!("\nleave the build running (d), cancel it (c), or go on watching (Enter)? ");
    io::stderr().flush()?;
    let mut said = String::new();
    io::stdin().lock().read_line(&mut said)?;
    Ok(match said.trim() {
        "d" | "D" => Choice::Detach,
        "c" | "C" => Choice::Cancel,
        _ => Choice::GoOn,
    })
}

fn logs(client: &Client, id: &str, lines: Lines) -> anyhow::Result<ExitCode> {
    let terminal = io::stdout().is_terminal();
    let end = client.logs(&path(id), lines, &mut |event| {
        let mut out = io::stdout().lock();
        // A terminal would obey what a build wrote; a file gets it as it was.
        let text = if terminal { for_terminal(&event.stream) } else { event.stream };
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    })?;
    Ok(match end {
        Some(end) if end.status != "ready" => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn list(args: &Template, client: &Client) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    loop {
        let page = client.call(Method::GET, &format!("/v1/templates?limit={PAGE}&offset={}", all.len()), None, &[])?;
        let rows = page["templates"].as_array().cloned().unwrap_or_default();
        let done = rows.is_empty();
        all.extend(rows);
        if done
            || page["pagination"]["total"]
                .as_u64()
                .is_none_or(|total| u64::try_from(all.len()).is_ok_and(|len| len >= total))
        {
            break;
        }
    }
    if args.json {
        line(format_args!("{}", serde_json::to_string_pretty(&all)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    line(format_args!("{:<30}  {:<24} {:>4}  {:<8} {:>10}  CREATED", "ID", "NAME", "VER", "STATUS", "SIZE"))?;
    for template in &all {
        let version = template["version"].as_u64().map_or("-".to_owned(), |version| version.to_string());
        let size = template["ext4_size_bytes"].as_u64().filter(|&size| size > 0).map_or("-".to_owned(), display_bytes);
        line(format_args!(
            "{:<30}  {:<24} {version:>4}  {:<8} {size:>10}  {}",
            visible::line(text(template, "id")),
            visible::line(text(template, "name")),
            visible::line(text(template, "status")),
            visible::line(text(template, "created_at")),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One template: its fields, and why it failed.
fn show(args: &Template, template: &Value) -> anyhow::Result<()> {
    let mut human = format!("{}  {}  {}\n", text(template, "id"), text(template, "name"), text(template, "status"));
    human += &format!("  base      {}\n", text(template, "base"));
    human += &format!("  created   {}\n", text(template, "created_at"));
    if let Some(size) = template["ext4_size_bytes"].as_u64().filter(|&size| size > 0) {
        human += &format!("  built     {}\n", text(template, "built_at"));
        human += &format!("  size      {size} bytes ({})\n", display_bytes(size));
        human += &format!("  sha256    {}\n  version   {}\n", text(template, "rootfs_sha256"), template["version"]);
    }
    if let Some(card) = template["failure"].as_object() {
        human +=
            &format!("  failed    {}: {}\n", text(&template["failure"], "code"), text(&template["failure"], "message"));
        if let (Some(step), Some(steps), Some(line)) = (card.get("step"), card.get("steps"), card.get("line")) {
            human += &format!("  where     step {step} of {steps}, line {line} of the Dockerfile\n");
        }
        if let Some(command) = card.get("command").and_then(Value::as_str) {
            human += &format!("  command   {command}\n");
        }
        for said in card.get("tail").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            human += &format!("    | {said}\n");
        }
        if let Some(hint) = card.get("hint").and_then(Value::as_str) {
            human += &format!("  hint      {hint}\n");
        }
    }
    if let Some(dockerfile) = template["dockerfile"].as_str() {
        human += &format!("\n{dockerfile}");
    }
    answer(args, template, human.trim_end())
}

/// What a build would do.
fn plan(args: &Template, plan: &Value) -> anyhow::Result<ExitCode> {
    let mut human = format!("{} ({})\n", text(plan, "base"), text(plan, "base_digest"));
    for step in plan["steps"].as_array().into_iter().flatten() {
        let state = match step["cached"].as_bool() {
            Some(true) => "cached",
            Some(false) => "runs",
            None => "-",
        };
        human += &format!("  {state:<7} line {:<4} {}\n", step["line"].to_string(), text(step, "text"));
        if let Some(reason) = step["reason"].as_str() {
            human += &format!("            {reason}\n");
        }
    }
    answer(args, plan, human.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
