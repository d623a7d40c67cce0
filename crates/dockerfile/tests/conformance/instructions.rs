//! Typed instructions, printed as the reference prints its own.

use dockerfile::ast::Instruction;
use dockerfile::instruction::{
    self, Add, Arg, CmdLine, Command, CommandKind, Copy, Healthcheck, KeyValue, Network, Run, Security, Stage, Transfer,
};
use dockerfile::mount::{Mount, MountError, Sharing};
use dockerfile::source::Source;
use dockerfile::span::Text;
use dockerfile::{Mode, parse_source};
use serde_json::{Value, json};

use crate::rows::Row;

pub(crate) fn compare(row: &Row) -> Result<bool, String> {
    let theirs = &row.reference["instructions"];
    if theirs["ok"] != true {
        return Ok(false);
    }
    let source = Source::decode(&row.source);
    let parsed = parse_source(&source, Mode::BuildKit);
    let typed = instruction::read(&parsed.dockerfile);
    let meta: Vec<Value> = typed.instructions.meta_args.iter().map(meta_arg).collect();
    equal(&Value::from(meta), &theirs["metaArgs"])?;
    let stages: Vec<Value> = typed.instructions.stages.iter().map(stage).collect();
    equal(&Value::from(stages), &theirs["stages"])?;
    Ok(true)
}

/// Equal, but for a list that is empty here and absent there.
fn equal(ours: &Value, theirs: &Value) -> Result<(), String> {
    match (ours, theirs) {
        (Value::Array(ours), Value::Null) if ours.is_empty() => Ok(()),
        (Value::Array(all), Value::Array(expected)) if all.len() == expected.len() => {
            all.iter().zip(expected).try_for_each(|(ours, theirs)| equal(ours, theirs))
        }
        (Value::Object(fields), Value::Object(expected)) => {
            let missing = expected.keys().find(|key| !fields.contains_key(*key));
            if let Some(key) = missing {
                return Err(format!("no {key}: {ours}\n  not {theirs}"));
            }
            fields.iter().try_for_each(|(key, value)| equal(value, expected.get(key).unwrap_or(&Value::Null)))
        }
        _ if ours == theirs => Ok(()),
        (Value::String(ours), Value::String(theirs)) if theirs.split(" (did you mean ").next() == Some(ours) => Ok(()),
        _ => Err(format!("{ours}\n  not {theirs}")),
    }
}

fn meta_arg(command: &Command<'_>) -> Value {
    let CommandKind::Arg(args) = &command.kind else { panic!("a meta argument is an ARG") };
    let lines = command.instruction;
    json!({"args": arg_list(args), "start": lines.start_line, "end": lines.end_line})
}

fn arg_list(args: &[Arg<'_>]) -> Vec<Value> {
    args.iter().map(|arg| json!({"key": arg.key, "value": arg.value, "doc": arg.doc})).collect()
}

fn stage(stage: &Stage<'_>) -> Value {
    json!({
        "base": stage.base.as_str(), "name": stage.name, "platform": stage.platform, "doc": stage.doc,
        "start": stage.from.start_line, "end": stage.from.end_line,
        "commands": stage.commands.iter().map(command).collect::<Vec<_>>(),
    })
}

fn command(command: &Command<'_>) -> Value {
    let (kind, mut fields) = match &command.kind {
        CommandKind::Run(run) => ("RunCommand", run_fields(run, command.instruction)),
        CommandKind::Cmd(line) => ("CmdCommand", cmdline(*line, &[])),
        CommandKind::Entrypoint(line) => ("EntrypointCommand", cmdline(*line, &[])),
        CommandKind::Env(pairs) => ("EnvCommand", json!({"env": pair_list(pairs)})),
        CommandKind::Label(pairs) => ("LabelCommand", json!({"labels": pair_list(pairs)})),
        CommandKind::Arg(args) => ("ArgCommand", json!({"args": arg_list(args)})),
        CommandKind::Copy(copy) => ("CopyCommand", copy_fields(copy)),
        CommandKind::Add(add) => ("AddCommand", add_fields(add)),
        CommandKind::Workdir(path) => ("WorkdirCommand", json!({"path": path.as_str()})),
        CommandKind::User(user) => ("UserCommand", json!({"user": user.as_str()})),
        CommandKind::Expose(ports) => ("ExposeCommand", json!({"ports": texts(ports)})),
        CommandKind::Volume(paths) => ("VolumeCommand", json!({"volumes": paths})),
        CommandKind::StopSignal(signal) => ("StopSignalCommand", json!({"signal": signal.as_str()})),
        CommandKind::Shell(words) => ("ShellCommand", json!({"shell": texts(&words.iter().collect::<Vec<_>>())})),
        CommandKind::Healthcheck(check) => ("HealthCheckCommand", json!({"health": health(check)})),
        CommandKind::Onbuild(text) => ("OnbuildCommand", json!({"expression": text})),
        CommandKind::Maintainer(name) => ("MaintainerCommand", json!({"maintainer": name.as_str()})),
    };
    fields["type"] = kind.into();
    fields["name"] = command.instruction.keyword.as_str().into();
    fields["start"] = command.instruction.start_line.into();
    fields["end"] = command.instruction.end_line.into();
    fields
}

fn texts(all: &[&Text<'_>]) -> Vec<String> {
    all.iter().map(|one| one.as_str().to_owned()).collect()
}

fn pair_list(pairs: &[KeyValue<'_>]) -> Vec<Value> {
    pairs
        .iter()
        .map(|pair| json!({"key": pair.key.as_str(), "value": pair.value.as_str(), "legacy": pair.legacy}))
        .collect()
}

fn cmdline(line: CmdLine<'_>, files: &[dockerfile::ast::Heredoc<'_>]) -> Value {
    let args: Vec<&Text<'_>> = line.args.iter().collect();
    let mut fields = json!({"cmdline": texts(&args), "shellForm": line.shell_form});
    if !files.is_empty() {
        let file =
            |doc: &dockerfile::ast::Heredoc<'_>| json!({"Name": doc.name, "Data": doc.content, "Chomp": doc.chomp});
        fields["files"] = files.iter().map(file).collect::<Vec<_>>().into();
    }
    fields
}

fn run_fields(run: &Run<'_>, instruction: &Instruction<'_>) -> Value {
    let mut fields = cmdline(run.cmdline, run.heredocs);
    let mut used: Vec<&str> = instruction.flags.iter().filter_map(|flag| flag.value[2..].split('=').next()).collect();
    used.sort_unstable();
    used.dedup();
    fields["flagsUsed"] = used.into();
    fields["network"] = match run.network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    }
    .into();
    fields["security"] = match run.security {
        Security::Sandbox => "sandbox",
        Security::Insecure => "insecure",
    }
    .into();
    let device = |one: &instruction::Device<'_>| json!({"Name": one.name, "Required": one.required});
    if !run.devices.is_empty() {
        fields["devices"] = run.devices.iter().map(device).collect::<Vec<_>>().into();
    }
    let mounts: Result<Vec<Value>, String> = run.mounts.iter().map(|mount| mounted(mount.value)).collect();
    match mounts {
        Ok(mounts) if mounts.is_empty() => {}
        Ok(mounts) => fields["mounts"] = mounts.into(),
        Err(error) => fields["mountsError"] = error.into(),
    }
    fields
}

/// The mount with its values as they are written.
fn mounted(value: &str) -> Result<Value, String> {
    // The suggestion is ours: the reference's varies from run to run.
    let message = |error: MountError| error.to_string().split(" (did you mean ").next().unwrap_or_default().to_owned();
    let mount = Mount::evaluate(value, |value| Ok(value.to_owned())).map_err(message)?;
    Ok(json!({
        "Type": mount.mount_type.name(), "From": mount.from, "Source": mount.source, "Target": mount.target,
        "ReadOnly": mount.read_only, "SizeLimit": mount.size_bytes, "CacheID": mount.id,
        "CacheSharing": mount.sharing.map_or("", sharing), "Required": mount.required,
        "Env": mount.env, "Mode": mount.mode, "UID": mount.uid, "GID": mount.gid,
    }))
}

fn transfer(transfer: &Transfer<'_>) -> Value {
    let content =
        |file: &instruction::InlineFile<'_>| json!({"Path": file.path, "Data": file.data, "Expand": file.expand});
    json!({
        "sources": texts(&transfer.sources), "dest": transfer.dest.as_str(),
        "contents": transfer.contents.iter().map(content).collect::<Vec<_>>(),
        "chown": transfer.chown, "chmod": transfer.chmod, "link": transfer.link, "exclude": transfer.exclude,
    })
}

fn copy_fields(copy: &Copy<'_>) -> Value {
    let mut fields = transfer(&copy.transfer);
    fields["from"] = copy.from.into();
    fields["parents"] = copy.parents.into();
    fields
}

fn add_fields(add: &Add<'_>) -> Value {
    let mut fields = transfer(&add.transfer);
    fields["checksum"] = add.checksum.into();
    fields["keepGitDir"] = add.keep_git_dir.into();
    fields["unpack"] = add.unpack.into();
    fields
}

fn health(check: &Healthcheck<'_>) -> Value {
    let Healthcheck::Cmd { cmdline, interval_ns, timeout_ns, start_period_ns, start_interval_ns, retries } = check
    else {
        return json!({"Test": ["NONE"]});
    };
    let kind = if cmdline.shell_form { "CMD-SHELL" } else { "CMD" };
    let test: Vec<&str> = [kind].into_iter().chain(cmdline.args.iter().map(Text::as_str)).collect();
    let mut fields = json!({"Test": test});
    let numbers = [
        ("Interval", *interval_ns),
        ("Timeout", *timeout_ns),
        ("StartPeriod", *start_period_ns),
        ("StartInterval", *start_interval_ns),
        ("Retries", i64::from(*retries)),
    ];
    for (name, value) in numbers.into_iter().filter(|(_, value)| *value != 0) {
        fields[name] = value.into();
    }
    fields
}

fn sharing(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::Shared => "shared",
        Sharing::Private => "private",
        Sharing::Locked => "locked",
    }
}
