//! `rootfs.json`: what whoever boots the image has to know, beside it (docs/rootfs-json.md).
//!
//! It is removed before the image is replaced and written after it, so that where there is one it is that of the image.

use std::fs;
use std::io;
use std::path::Path;

use buildengine::plan::Plan;
use fstree::Tree;
use serde_json::{Value, json};

use crate::error::Error;

/// Raised when a field changes its meaning; new fields do not raise it.
const VERSION: u32 = 1;

/// What is known of the image it stands beside.
#[derive(Debug)]
pub(crate) struct About<'a> {
    /// Its file.
    pub(crate) image: &'a Path,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: &'a str,
    /// Identity, 64 hexadecimal digits.
    pub(crate) id: &'a str,
    /// The base as FROM names it, and the digest of its config.
    pub(crate) base: (&'a str, &'a str),
    /// The whole OCI config.
    pub(crate) config: &'a Value,
}

/// The document. Names of users are looked up in `tree`, the image's own; a user that it does not have has no numbers.
pub(crate) fn document(about: &About<'_>, plan: &Plan, tree: &Tree) -> Value {
    let config = &plan.config;
    let user = buildengine::resolve_user(tree, &config.user).ok();
    json!({
        "version": VERSION,
        "image": {
            "file": about.image.file_name().map(|name| name.to_string_lossy()),
            "size_bytes": about.size_bytes,
            "sha256": about.sha256,
        },
        "id": format!("sha256:{}", about.id),
        "base": { "name": about.base.0, "config_digest": format!("sha256:{}", about.base.1) },
        "os": about.config["os"],
        "architecture": about.config["architecture"],
        "env": config.env,
        "user": {
            "name": config.user,
            "uid": user.as_ref().map(|user| user.uid),
            "gid": user.as_ref().map(|user| user.gid),
            "additional_gids": user.map(|user| user.additional_gids),
        },
        "working_dir": if config.working_dir.is_empty() { "/" } else { &config.working_dir },
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "exposed_ports": config.exposed_ports,
        "volumes": config.volumes,
        "labels": config.labels,
        "stop_signal": Some(&config.stop_signal).filter(|signal| !signal.is_empty()),
        "healthcheck": config.healthcheck,
    })
}

/// Removes the document of the image before, if there is one.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Rootfs { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Writes the document: complete and on the disk, or not there.
pub(crate) fn write(path: &Path, document: &Value) -> Result<(), Error> {
    let text = format!("{}\n", serde_json::to_string_pretty(document).expect("documents have string keys"));
    // As any file that a program writes for others: the umask takes away what it should not have.
    buildengine::write_whole(path, text.as_bytes(), 0o666)
        .map_err(|source| Error::Rootfs { path: path.to_owned(), source })
}
