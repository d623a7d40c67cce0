//! Instructions that change the image's config or the environment, and no files.

use std::rc::Rc;

use super::context::{Context, Fault, OUTSIDE_ENV};
use super::error::ConvertError;
use super::op::{FileAction, FileOp, OpKind, Origin};
use super::state::{State, normal_workdir};
use crate::config;
use crate::duration::format_duration;
use crate::env::Variables;
use crate::goformat::{clean_path, list, quoted_list};
use crate::instruction::{Arg, CmdLine, Command, Healthcheck, KeyValue};
use crate::limits::LimitReached;
use crate::ports::PortRange;
use crate::rules::{
    expose_invalid_format, expose_proto_casing, json_args_recommended, legacy_key_value_format,
    multiple_instructions_disallowed, secrets_used_in_arg_or_env, workdir_relative_path,
};
use crate::signal::is_signal;
use crate::span::{Span, Text};

type Done = Result<(), Fault>;

impl Context<'_> {
    /// `ENV`: every pair is expanded with the environment before the instruction.
    pub(super) fn env(&mut self, state: &mut State<'_>, command: &Command<'_>, pairs: &[KeyValue<'_>]) -> Done {
        let expanded = self.expand_pairs(state, command, pairs)?;
        let mut message = "ENV".to_owned();
        for (pair, (key, value)) in pairs.iter().zip(&expanded) {
            if pair.legacy {
                legacy_key_value_format::report(command, pair, &mut self.lints);
            }
            secrets_used_in_arg_or_env::check("ENV", key, pair.key.span, &mut self.lints);
            message.extend([" ", key, "=", value]);
            let env = Rc::make_mut(&mut state.env);
            env.set_in_both(Rc::make_mut(&mut state.image_env), key, value);
            self.env_changed(state)?;
        }
        Ok(self.commit(state, message, false)?)
    }

    fn expand_pairs(
        &mut self,
        state: &State<'_>,
        command: &Command<'_>,
        pairs: &[KeyValue<'_>],
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let key = self.expand_text(state, command, pair.key)?.into_owned();
            expanded.push((key, self.expand_text(state, command, pair.value)?.into_owned()));
        }
        Ok(expanded)
    }

    /// Gives the changed environment a version of its own.
    fn env_changed(&mut self, state: &mut State<'_>) -> Result<(), LimitReached> {
        self.env_versions += 1;
        state.env_version = self.env_versions;
        let env_max = self.budget.limits().env_max;
        if state.env.len() > env_max { Err(LimitReached::Env(env_max)) } else { Ok(()) }
    }

    /// `LABEL`.
    pub(super) fn label(&mut self, state: &mut State<'_>, command: &Command<'_>, pairs: &[KeyValue<'_>]) -> Done {
        let expanded = self.expand_pairs(state, command, pairs)?;
        let mut message = "LABEL".to_owned();
        for (pair, (key, value)) in pairs.iter().zip(expanded) {
            if pair.legacy {
                legacy_key_value_format::report(command, pair, &mut self.lints);
            }
            message.extend([" ", &key, "=", &value]);
            state.config_mut().labels.insert(key, value);
        }
        Ok(self.commit(state, message, false)?)
    }

    /// `ARG`: a build argument wins over the default; without either the global scope is asked.
    pub(super) fn arg(&mut self, state: &mut State<'_>, command: &Command<'_>, args: &[Arg<'_>]) -> Done {
        let mut message = "ARG".to_owned();
        for arg in args {
            secrets_used_in_arg_or_env::check("ARG", arg.key, arg.word.span, &mut self.lints);
            let value = self.arg_value(state, command, arg)?;
            message.extend([" ", arg.key]);
            if let Some(value) = &value {
                message.extend(["=", value]);
                if !OUTSIDE_ENV.contains(&arg.key) {
                    Rc::make_mut(&mut state.env).set(arg.key, value);
                    self.env_changed(state)?;
                }
            }
            Rc::make_mut(&mut state.build_args).replace(arg.key, value.as_deref().unwrap_or_default());
        }
        Ok(self.commit(state, message, false)?)
    }

    fn arg_value(&mut self, state: &State<'_>, command: &Command<'_>, arg: &Arg<'_>) -> Result<Option<String>, Fault> {
        if let Some(given) = self.options.build_args.get(arg.key) {
            return Ok(Some(given.clone()));
        }
        match arg.value {
            None => Ok(self.scope.get(arg.key).map(str::to_owned)),
            Some(default) => {
                let value = self.expand(state, command, default);
                Ok(Some(value.map_err(|error| Fault::at(error, arg.word.part_span(default)))?.into_owned()))
            }
        }
    }

    /// `CMD`.
    pub(super) fn cmd<'d>(&mut self, state: &mut State<'d>, command: &'d Command<'d>, line: &CmdLine<'_>) -> Done {
        if let Some(earlier) = state.cmd.replace(command.instruction) {
            multiple_instructions_disallowed::report(earlier, command.instruction, &mut self.lints);
        }
        let args = self.command_line(state, command, line);
        let message = ["CMD ", &quoted_list(&args)].concat();
        let config = state.config_mut();
        config.cmd = args;
        config.args_escaped = true;
        Ok(self.commit(state, message, false)?)
    }

    /// `ENTRYPOINT`: the base image's `CMD` was meant for the base image's entry point, and goes.
    pub(super) fn entrypoint<'d>(
        &mut self,
        state: &mut State<'d>,
        command: &'d Command<'d>,
        line: &CmdLine<'_>,
    ) -> Done {
        if let Some(earlier) = state.entrypoint.replace(command.instruction) {
            multiple_instructions_disallowed::report(earlier, command.instruction, &mut self.lints);
        }
        let args = self.command_line(state, command, line);
        let message = ["ENTRYPOINT ", &quoted_list(&args)].concat();
        let keeps_cmd = state.cmd.is_some();
        let config = state.config_mut();
        config.entrypoint = args;
        if !keeps_cmd {
            config.cmd.clear();
        }
        Ok(self.commit(state, message, false)?)
    }

    fn command_line(&mut self, state: &State<'_>, command: &Command<'_>, line: &CmdLine<'_>) -> Vec<String> {
        let args: Vec<&str> = line.args.iter().map(Text::as_str).collect();
        if !line.shell_form {
            return args.into_iter().map(str::to_owned).collect();
        }
        if state.config.shell.is_empty() {
            json_args_recommended::report(command, &mut self.lints);
        }
        state.with_shell(args.join(" "))
    }

    /// `HEALTHCHECK`.
    pub(super) fn healthcheck<'d>(
        &mut self,
        state: &mut State<'d>,
        command: &'d Command<'d>,
        check: &Healthcheck<'_>,
    ) -> Done {
        if let Some(earlier) = state.healthcheck.replace(command.instruction) {
            multiple_instructions_disallowed::report(earlier, command.instruction, &mut self.lints);
        }
        let check = config_healthcheck(check);
        let message = format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            list(&check.test),
            format_duration(check.interval),
            format_duration(check.timeout),
            format_duration(check.start_period),
            format_duration(check.start_interval),
            check.retries
        );
        state.config_mut().healthcheck = Some(check);
        Ok(self.commit(state, message, false)?)
    }

    /// `EXPOSE`: each word is expanded and split first.
    pub(super) fn expose(&mut self, state: &mut State<'_>, words: &[&Text<'_>]) -> Done {
        let mut ranges = Vec::new();
        for word in words {
            let ports = self.lexer.split(word.as_str(), state.env.as_ref(), &mut self.budget);
            for port in ports.map_err(|error| Fault::at(error, word.span))? {
                ranges.push((port, word.span));
            }
        }
        let mut names: Vec<String> = Vec::new();
        for (port, span) in ranges {
            self.lint_port(&port, span);
            let range = PortRange::parse(&port).map_err(|error| Fault::at(error, span))?;
            self.budget.spend_ports(range.count()).map_err(|error| Fault::at(error, span))?;
            names.extend(range.names());
        }
        let message = ["EXPOSE ", &list(&names)].concat();
        state.config_mut().exposed_ports.extend(names);
        Ok(self.commit(state, message, false)?)
    }

    /// Casing of the protocol, and host parts, as long as the protocol exists.
    fn lint_port(&mut self, port: &str, span: Span) {
        let container = port.rsplit(':').next().unwrap_or(port);
        let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
        let known = matches!(crate::goformat::to_lower(protocol).as_str(), "" | "tcp" | "udp" | "sctp");
        if !known || container.split('/').next() == Some("") {
            return;
        }
        expose_proto_casing::check(port, protocol, span, &mut self.lints);
        let maps_host = port.rsplit_once(':').is_some_and(|(host, _)| !host.trim_matches(':').is_empty());
        if maps_host {
            expose_invalid_format::report(port, span, &mut self.lints);
        }
    }

    /// `USER`.
    pub(super) fn user(&mut self, state: &mut State<'_>, command: &Command<'_>, user: &Text<'_>) -> Done {
        let user = self.expand_text(state, command, user)?.into_owned();
        let message = ["USER ", &user].concat();
        state.config_mut().user = user;
        Ok(self.commit(state, message, false)?)
    }

    /// `VOLUME`.
    pub(super) fn volume(&mut self, state: &mut State<'_>, command: &Command<'_>, paths: &[&str]) -> Done {
        let mut volumes = Vec::with_capacity(paths.len());
        for path in paths {
            volumes.push(self.expand(state, command, path)?.into_owned());
        }
        if volumes.iter().any(String::is_empty) {
            return Err(ConvertError::BlankVolume.into());
        }
        let message = ["VOLUME ", &list(&volumes)].concat();
        state.config_mut().volumes.extend(volumes);
        Ok(self.commit(state, message, false)?)
    }

    /// `STOPSIGNAL`: kept as written.
    pub(super) fn stop_signal(&mut self, state: &mut State<'_>, command: &Command<'_>, signal: &Text<'_>) -> Done {
        let name = self.expand_text(state, command, signal)?.into_owned();
        if !is_signal(&name) {
            return Err(Fault::at(ConvertError::Signal(name), signal.span));
        }
        let message = ["STOPSIGNAL ", &name].concat();
        state.config_mut().stop_signal = name;
        Ok(self.commit(state, message, false)?)
    }

    /// `SHELL`.
    pub(super) fn shell(&mut self, state: &mut State<'_>, args: &[Text<'_>]) -> Done {
        let shell: Vec<String> = args.iter().map(|arg| arg.as_str().to_owned()).collect();
        let message = ["SHELL ", &list(&shell)].concat();
        state.config_mut().shell = shell;
        Ok(self.commit(state, message, false)?)
    }

    /// `MAINTAINER`: the one text that is not expanded.
    pub(super) fn maintainer(&mut self, state: &mut State<'_>, name: &Text<'_>) -> Done {
        name.as_str().clone_into(&mut state.author);
        Ok(self.commit(state, ["MAINTAINER ", name.as_str()].concat(), false)?)
    }

    /// `WORKDIR`: also makes the directory.
    pub(super) fn workdir(
        &mut self,
        state: &mut State<'_>,
        command: &Command<'_>,
        path: &Text<'_>,
        origin: Origin,
    ) -> Done {
        let path = self.expand_text(state, command, path)?;
        if !std::mem::replace(&mut state.workdir_set, true) {
            workdir_relative_path::check(command, &path, &mut self.lints);
        }
        let directory = normal_workdir(&state.config.working_dir, &path);
        self.budget.spend_output(directory.len())?;
        state.cwd.clone_from(&directory);
        state.config_mut().working_dir.clone_from(&directory);
        let changes_files = directory != "/";
        if changes_files {
            let mkdir = FileAction::Mkdir {
                mkdir: clean_path(&directory),
                mode: 0o755,
                parents: true,
                owner: state.config.user.clone(),
            };
            let op = OpKind::File(FileOp { base: state.root, actions: vec![mkdir] });
            state.root = Some(self.graph.add(op, origin, &mut self.budget)?);
        }
        Ok(self.commit(state, ["WORKDIR ", &directory].concat(), changes_files)?)
    }
}

fn config_healthcheck(check: &Healthcheck<'_>) -> config::Healthcheck {
    match check {
        Healthcheck::None => config::Healthcheck { test: vec!["NONE".to_owned()], ..config::Healthcheck::default() },
        Healthcheck::Cmd { cmdline, interval_ns, timeout_ns, start_period_ns, start_interval_ns, retries } => {
            let kind = if cmdline.shell_form { "CMD-SHELL" } else { "CMD" };
            let args = cmdline.args.iter().map(|arg| arg.as_str().to_owned());
            config::Healthcheck {
                test: std::iter::once(kind.to_owned()).chain(args).collect(),
                interval: *interval_ns,
                timeout: *timeout_ns,
                start_period: *start_period_ns,
                start_interval: *start_interval_ns,
                retries: i32::try_from(*retries).unwrap_or(i32::MAX),
            }
        }
    }
}
