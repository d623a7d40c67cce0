//! The `config` object of an image: what a base image brings and what a Dockerfile makes of it.
//!
//! The JSON names are those of the OCI image specification and of Docker's additions to it (`Healthcheck`, `OnBuild`,
//! `Shell`, `ArgsEscaped`). Members that are empty are left out, as Go leaves them out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How to run an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// User or uid, with an optional group: `nobody`, `1000:1000`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub user: String,
    /// Ports such as `80/tcp`.
    #[serde(
        skip_serializing_if = "BTreeSet::is_empty",
        serialize_with = "as_object",
        deserialize_with = "from_object"
    )]
    pub exposed_ports: BTreeSet<String>,
    /// Variables as `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The program.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Its default arguments, or the program if there is no entry point.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Directories that hold data.
    #[serde(
        skip_serializing_if = "BTreeSet::is_empty",
        serialize_with = "as_object",
        deserialize_with = "from_object"
    )]
    pub volumes: BTreeSet<String>,
    /// Where the program starts.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub working_dir: String,
    /// Notes on the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the program to stop.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub stop_signal: String,
    /// `Cmd` and `Entrypoint` are not to be escaped again (Windows); `CMD` always sets it.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "or_default")]
    pub args_escaped: bool,
    /// How to tell whether the program is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions that run in a Dockerfile that builds on this image.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub on_build: Vec<String>,
    /// What runs the shell forms of RUN, CMD and ENTRYPOINT; `/bin/sh -c` if empty.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub shell: Vec<String>,
}

/// A health check. Times are nanoseconds, 0 meaning the runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a command line.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time a check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time the program has to start, in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks while it starts.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(skip_serializing_if = "is_zero_count")]
    pub retries: i32,
}

impl ImageConfig {
    /// Sets `name` in `env`, in its old place if it has one.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let is_it = |old: &&mut String| old.split('=').next() == Some(name);
        match self.env.iter_mut().find(is_it) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero_count(value: &i32) -> bool {
    *value == 0
}

/// Images in the wild write `null` for what is empty.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A set is an object with empty objects for values.
fn as_object<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(set.iter().map(|key| (key, Nothing {})))
}

fn from_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let object: Option<BTreeMap<String, Option<Nothing>>> = Option::deserialize(deserializer)?;
    Ok(object.unwrap_or_default().into_keys().collect())
}

#[derive(Serialize, Deserialize)]
struct Nothing {}
