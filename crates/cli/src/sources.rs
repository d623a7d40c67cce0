//! The options of registries, and what the environment says of them.

use std::path::PathBuf;

use anyhow::bail;
use drydock::{OpenOptions, RegistryOptions};

use crate::args::Sources;

impl Sources {
    /// How images are looked for.
    pub(crate) fn options(&self) -> anyhow::Result<OpenOptions> {
        let mut registry = RegistryOptions::default();
        for mirror in &self.mirrors {
            let Some((host, url)) = mirror.split_once('=') else {
                bail!("a mirror is given as HOST=URL, as in docker.io=https://mirror.example; '{mirror}' is none");
            };
            registry.mirrors.entry(host.to_owned()).or_default().push(url.to_owned());
        }
        registry.proxies_of_environment = true;
        registry.mirrors_only = self.mirrors_only;
        registry.insecure.clone_from(&self.insecure);
        registry.ca_file.clone_from(&self.ca_file);
        let at_home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
        registry.docker_config = self.docker_config.clone().or_else(at_home).map(|dir| dir.join("config.json"));
        Ok(OpenOptions { platform: self.platform.clone().unwrap_or_default(), registry, ..OpenOptions::default() })
    }
}
