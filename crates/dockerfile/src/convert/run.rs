//! `RUN`: the command line, heredocs included, and its mounts.

use super::context::{Context, Fault};
use super::error::ConvertError;
use super::op::{
    Exec, ExecMount, ExecMountKind, FileAction, FileOp, Handed, NetworkMode, OpId, OpKind, Origin, SecretEnv, SharedEnv,
};
use super::stages::{MountSource, Stages};
use super::state::State;
use crate::env::Variables;
use crate::goformat::{base_name, clean_path, join_path, list};
use crate::heredoc;
use crate::instruction::{Command, Network, Run, Security};
use crate::mount::{Mount, MountError, MountType, Sharing};
use crate::span::Text;

/// Where a script that begins with `#!` is mounted.
const SCRIPT_DIRECTORY: &str = "/dev/pipes/";

/// Mounts of one process, as they are gathered.
#[derive(Default)]
struct Mounts {
    mounts: Vec<ExecMount>,
    secrets: Vec<ExecMount>,
    agents: Vec<ExecMount>,
    secret_env: Vec<SecretEnv>,
}

impl Context<'_> {
    /// `RUN`.
    pub(super) fn run(
        &mut self,
        state: &mut State<'_>,
        command: &Command<'_>,
        run: &Run<'_>,
        sources: &[MountSource],
        stages: &Stages<'_>,
        origin: Origin,
    ) -> Result<(), Fault> {
        // The reference evaluates the mounts before it looks at anything else.
        let evaluated = self.evaluate_mounts(state, command, run)?;
        let mut mounts = Mounts::default();
        let args = self.arguments(state, run, origin, &mut mounts)?;
        for (index, mount) in evaluated.into_iter().enumerate() {
            let source = sources.get(index).copied().unwrap_or(MountSource::Nothing);
            let placed = self.place_mount(state, mount, source, stages, origin, &mut mounts);
            placed.map_err(|error| match run.mounts.get(index) {
                Some(flag) => Fault::at(error, flag.span()),
                None => error.into(),
            })?;
        }
        if let Some(device) = run.devices.first() {
            return Err(Fault::at(ConvertError::Device, device.flag.span));
        }
        let created_by = history_line(&args, state);
        let exec = self.exec(state, run, args, mounts)?;
        state.root = Some(self.graph.add(OpKind::Exec(exec), origin, &mut self.budget)?);
        Ok(self.commit(state, created_by, true)?)
    }

    fn evaluate_mounts(
        &mut self,
        state: &State<'_>,
        command: &Command<'_>,
        run: &Run<'_>,
    ) -> Result<Vec<Mount>, Fault> {
        let mut mounts = Vec::with_capacity(run.mounts.len());
        for flag in &run.mounts {
            let mount = Mount::evaluate(flag.value, |value| {
                self.expand(state, command, value).map(std::borrow::Cow::into_owned)
            });
            mounts.push(mount.map_err(|error: MountError| Fault::at(error, flag.span()))?);
        }
        Ok(mounts)
    }

    /// What is run. A heredoc that is the whole command is the script itself; in any other place the shell gets it to read.
    fn arguments(
        &mut self,
        state: &State<'_>,
        run: &Run<'_>,
        origin: Origin,
        mounts: &mut Mounts,
    ) -> Result<Vec<String>, ConvertError> {
        let words = || run.cmdline.args.iter().map(Text::as_str);
        let text = match (run.heredocs, run.cmdline.args) {
            ([], _) if !run.cmdline.shell_form => return Ok(words().map(str::to_owned).collect()),
            ([], [line]) => line.as_str().to_owned(),
            ([], _) => words().collect::<Vec<_>>().join(" "),
            ([first, ..], [line]) if run.cmdline.shell_form => match heredoc::parse_word(line.as_str()) {
                Ok(Some(_)) => self.whole_script(state, first, origin, mounts)?,
                _ => run.heredocs.iter().fold(line.as_str().to_owned(), |mut text, heredoc| {
                    text.extend(["\n", heredoc.content, &heredoc.name]);
                    text
                }),
            },
            _ => return Err(ConvertError::RunHeredoc(list(&words().collect::<Vec<_>>()))),
        };
        Ok(match run.cmdline.shell_form {
            true => state.with_shell(text),
            false => vec![text],
        })
    }

    fn whole_script(
        &mut self,
        state: &State<'_>,
        script: &crate::ast::Heredoc<'_>,
        origin: Origin,
        mounts: &mut Mounts,
    ) -> Result<String, ConvertError> {
        let body = if script.chomp { heredoc::chomp(script.content) } else { script.content.to_owned() };
        if state.windows || !body.starts_with("#!") {
            return Ok(body);
        }
        let file = FileAction::Mkfile { mkfile: join_path(&["/", &script.name]), data: body, mode: 0o755 };
        let op = OpKind::File(FileOp { base: None, actions: vec![file] });
        let input = self.graph.add(op, origin, &mut self.budget)?;
        mounts.mounts.push(ExecMount {
            dest: SCRIPT_DIRECTORY.to_owned(),
            readonly: true,
            selector: "/".to_owned(),
            input: Some(input),
            kind: ExecMountKind::Bind,
        });
        Ok(join_path(&[SCRIPT_DIRECTORY, &script.name]))
    }

    fn place_mount(
        &mut self,
        state: &State<'_>,
        mount: Mount,
        source: MountSource,
        stages: &Stages<'_>,
        origin: Origin,
        mounts: &mut Mounts,
    ) -> Result<(), ConvertError> {
        let input = match (mount.from.is_empty(), mount.mount_type) {
            (false, _) | (true, MountType::Cache) => stages.mounted(source, &mount)?,
            (true, MountType::Bind) => Some(self.build_context(origin)?),
            (true, _) => None,
        };
        match mount.mount_type {
            MountType::Secret => place_secret(mount, mounts),
            MountType::Ssh => place_agent(mount, mounts),
            _ => self.place_directory(state, mount, input, origin, mounts),
        }
    }

    fn place_directory(
        &mut self,
        state: &State<'_>,
        mount: Mount,
        input: Option<OpId>,
        origin: Origin,
        mounts: &mut Mounts,
    ) -> Result<(), ConvertError> {
        let dest = match clean_path(&mount.target).starts_with('/') {
            true => mount.target.clone(),
            false => join_path(&["/", &state.cwd, &mount.target]),
        };
        if dest == "/" {
            return Err(ConvertError::MountTarget(dest));
        }
        let source = join_path(&["/", &mount.source]);
        let (input, selector) = match source.as_str() {
            "/" if mount.has_owner() => (Some(self.cache_directory(&mount, input, origin)?), "/cache".to_owned()),
            "/" => (input, String::new()),
            _ => (input, source),
        };
        let kind = match mount.mount_type {
            MountType::Tmpfs => ExecMountKind::Tmpfs { size: mount.size_bytes },
            MountType::Cache => {
                let id = if mount.id.is_empty() { clean_path(&mount.target) } else { mount.id };
                let sharing = mount.sharing.unwrap_or(Sharing::Shared);
                ExecMountKind::Cache { cache_id: format!("{}/{id}", self.options.cache_namespace), sharing }
            }
            _ => ExecMountKind::Bind,
        };
        let input = if mount.mount_type == MountType::Tmpfs { None } else { input };
        mounts.mounts.push(ExecMount { dest, readonly: mount.read_only, selector, input, kind });
        Ok(())
    }

    /// The directory a cache begins with when it has an owner of its own.
    fn cache_directory(&mut self, mount: &Mount, base: Option<OpId>, origin: Origin) -> Result<OpId, ConvertError> {
        let owner = match (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0)) {
            (0, 0) => String::new(),
            (uid, gid) => format!("{uid}:{gid}"),
        };
        let mkdir =
            FileAction::Mkdir { mkdir: "/cache".to_owned(), mode: mount.mode.unwrap_or(0o755), parents: false, owner };
        let op = OpKind::File(FileOp { base, actions: vec![mkdir] });
        Ok(self.graph.add(op, origin, &mut self.budget)?)
    }

    fn exec(
        &mut self,
        state: &State<'_>,
        run: &Run<'_>,
        args: Vec<String>,
        mut mounts: Mounts,
    ) -> Result<Exec, ConvertError> {
        mounts.mounts.sort_by(|a, b| a.dest.cmp(&b.dest));
        for (index, agent) in mounts.agents.iter_mut().enumerate().filter(|(_, agent)| agent.dest.is_empty()) {
            agent.dest = format!("/run/buildkit/ssh_agent.{index}");
        }
        let socket = mounts.agents.first().filter(|_| state.env.get("SSH_AUTH_SOCK").is_none());
        let extra = socket.map(|agent| format!("SSH_AUTH_SOCK={}", agent.dest));
        self.budget.spend_output(args.iter().map(String::len).sum::<usize>() + state.cwd.len())?;
        let env = self.environment(state, extra)?;
        mounts.mounts.append(&mut mounts.secrets);
        mounts.mounts.append(&mut mounts.agents);
        Ok(Exec {
            root: state.root,
            args,
            env,
            cwd: state.cwd.clone(),
            user: state.config.user.clone(),
            mounts: mounts.mounts,
            secret_env: mounts.secret_env,
            network: match run.network {
                Network::Default => None,
                Network::None => Some(NetworkMode::None),
                Network::Host => Some(NetworkMode::Host),
            },
            insecure: run.security == Security::Insecure,
            proxy: self.options.proxy(),
        })
    }

    /// The stage's environment; made once for all processes between two changes to it.
    fn environment(&mut self, state: &State<'_>, extra: Option<String>) -> Result<SharedEnv, ConvertError> {
        match &self.last_env {
            Some((version, made)) if extra.is_none() && *version == state.env_version => return Ok(made.clone()),
            _ => {}
        }
        let alone = extra.is_none();
        let made = self.graph.share_env(&state.env, extra, &mut self.budget)?;
        if alone {
            self.last_env = Some((state.env_version, made.clone()));
        }
        Ok(made)
    }
}

fn place_secret(mount: Mount, mounts: &mut Mounts) -> Result<(), ConvertError> {
    let id = match (mount.source.is_empty(), mount.id.is_empty(), mount.target.as_str()) {
        (false, _, _) => mount.source.clone(),
        (true, false, _) => mount.id.clone(),
        (true, true, "") => return Err(ConvertError::SecretUnnamed),
        (true, true, target) => base_name(target).to_owned(),
    };
    let dest = match (&mount.env, mount.target.is_empty()) {
        (_, false) => Some(mount.target.clone()),
        (Some(_), true) => None,
        (None, true) => Some(format!("/run/secrets/{}", base_name(&id))),
    };
    let optional = !mount.required;
    if let Some(name) = &mount.env {
        mounts.secret_env.push(SecretEnv { id: id.clone(), name: name.clone(), optional });
    }
    if let Some(dest) = dest {
        let secret = handed(id, &mount, 0o400);
        mounts.secrets.push(plain_mount(dest, ExecMountKind::Secret { secret }));
    }
    Ok(())
}

fn place_agent(mount: Mount, mounts: &mut Mounts) -> Result<(), ConvertError> {
    if !mount.source.is_empty() {
        return Err(ConvertError::SshSource);
    }
    let ssh = handed(mount.id.clone(), &mount, 0o600);
    mounts.agents.push(plain_mount(mount.target, ExecMountKind::Ssh { ssh }));
    Ok(())
}

fn handed(id: String, mount: &Mount, mode: u32) -> Handed {
    let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
    Handed { id, uid, gid, mode: mount.mode.unwrap_or(mode), optional: !mount.required }
}

fn plain_mount(dest: String, kind: ExecMountKind) -> ExecMount {
    ExecMount { dest, readonly: false, selector: String::new(), input: None, kind }
}

/// The command as the history shows it: how many arguments of the build there are, they, and what is run.
fn history_line(args: &[String], state: &State<'_>) -> String {
    let mut line = String::with_capacity(args.iter().map(|arg| arg.len() + 1).sum::<usize>() + "RUN # buildkit".len());
    line.push_str("RUN");
    if !state.build_args.is_empty() {
        line.push_str(&format!(" |{}", state.build_args.len()));
    }
    for (name, declared) in state.build_args.iter() {
        line.extend([" ", name, "=", state.env.get(name).unwrap_or(declared)]);
    }
    for arg in args {
        line.extend([" ", arg]);
    }
    // Without arguments there is still the blank before them.
    line.push_str(if args.is_empty() && state.build_args.is_empty() { "  # buildkit" } else { " # buildkit" });
    line
}
