//! What a stage has become so far: its files, its environment and its config.

use std::rc::Rc;

use serde::Serialize;

use super::op::OpId;
use crate::ast::Instruction;
use crate::config::ImageConfig;
use crate::env::Env;
use crate::goformat::join_path;
use crate::platform::Platform;

/// The directories that are searched for programs when the base image does not say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One entry of an image's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct History {
    /// What made it, in BuildKit's spelling.
    pub created_by: String,
    /// It changed no files.
    pub empty_layer: bool,
}

/// A stage while its instructions are gone through.
#[derive(Clone, Debug)]
pub(super) struct State<'d> {
    /// Its files; `None` is nothing yet.
    pub(super) root: Option<OpId>,
    /// What processes see: `ENV` and `ARG`, the last one set at the end.
    pub(super) env: Rc<Env>,
    /// Changes whenever `env` does.
    pub(super) env_version: u64,
    /// What the image will hold: `ENV` in the order it was first set.
    pub(super) image_env: Rc<Env>,
    /// The rest of the config; its `env` is not kept up to date.
    pub(super) config: Rc<ImageConfig>,
    /// Working directory of processes.
    pub(super) cwd: String,
    /// From `MAINTAINER`.
    pub(super) author: String,
    /// Entries of this stage alone; taken out when it is finished.
    pub(super) history: Vec<History>,
    /// Every `ARG` of the stage, with its value, or nothing.
    pub(super) build_args: Rc<Env>,
    /// A `WORKDIR` was seen.
    pub(super) workdir_set: bool,
    /// Platform of its images.
    pub(super) platform: Platform,
    /// The base image is one of Windows.
    pub(super) windows: bool,
    pub(super) cmd: Option<&'d Instruction<'d>>,
    pub(super) entrypoint: Option<&'d Instruction<'d>>,
    pub(super) healthcheck: Option<&'d Instruction<'d>>,
}

impl<'d> State<'d> {
    /// A stage that starts from an image (or from nothing, for which `config` is that of an empty image).
    pub(super) fn from_image(root: Option<OpId>, config: &ImageConfig, platform: Platform, windows: bool) -> Self {
        let mut config = config.clone();
        let image_env: Env = std::mem::take(&mut config.env).iter().map(|entry| split_env(entry)).collect();
        config.on_build.clear();
        State {
            root,
            env: Rc::default(),
            env_version: 0,
            image_env: Rc::new(image_env),
            config: Rc::new(config),
            cwd: "/".to_owned(),
            author: String::new(),
            history: Vec::new(),
            build_args: Rc::default(),
            workdir_set: false,
            platform,
            windows,
            cmd: None,
            entrypoint: None,
            healthcheck: None,
        }
    }

    /// A stage that starts from another one, whose history was taken out.
    pub(super) fn from_stage(mut state: State<'d>) -> Self {
        if !state.config.on_build.is_empty() {
            Rc::make_mut(&mut state.config).on_build.clear();
        }
        (state.cmd, state.entrypoint, state.healthcheck) = (None, None, None);
        state
    }

    /// Takes over what the config says of environment, directory and user.
    pub(super) fn begin(&mut self, version: u64) {
        use crate::env::Variables as _;
        self.env_version = version;
        if self.image_env.get("PATH").is_none() && !self.platform.is_windows() {
            Rc::make_mut(&mut self.image_env).set("PATH", DEFAULT_PATH);
        }
        // A stage on a stage sets them again, which moves them behind its arguments.
        Rc::make_mut(&mut self.env).set_all(&self.image_env);
        if !self.config.working_dir.is_empty() {
            let directory = normal_workdir(&self.config.working_dir, &self.config.working_dir);
            self.cwd.clone_from(&directory);
            self.config_mut().working_dir = directory;
        }
    }

    /// The config as the image will have it.
    pub(super) fn finished_config(&mut self) -> ImageConfig {
        let mut config = Rc::unwrap_or_clone(std::mem::take(&mut self.config));
        config.env = self.image_env.entries().map(|entry| entry.as_ref().to_owned()).collect();
        config
    }

    pub(super) fn config_mut(&mut self) -> &mut ImageConfig {
        Rc::make_mut(&mut self.config)
    }

    /// The command line of a shell form.
    pub(super) fn with_shell(&self, text: String) -> Vec<String> {
        let default: &[&str] = if self.windows { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
        let mut args = Vec::with_capacity(1 + self.config.shell.len().max(default.len()));
        match self.config.shell.is_empty() {
            true => args.extend(default.iter().map(|part| (*part).to_owned())),
            false => args.extend_from_slice(&self.config.shell),
        }
        args.push(text);
        args
    }
}

fn split_env(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, ""))
}

/// A working directory: absolute paths as they stand, relative ones joined to the current one and cleaned.
pub(super) fn normal_workdir(current: &str, path: &str) -> String {
    let current = match current {
        "" => "/".to_owned(),
        current if current.starts_with('/') => current.to_owned(),
        current => join_path(&["/", current]),
    };
    match path {
        "" => current,
        path if path.starts_with('/') => path.to_owned(),
        path => join_path(&[&current, path]),
    }
}
