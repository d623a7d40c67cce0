//! Published packages, each in a folder of its own that is made once.

use std::path::PathBuf;
use std::process::Command;

use drydock_tests::{made_once, run};

/// A package of PyPI and what it needs, for `PYTHONPATH`.
pub(super) fn of_pypi(requirement: &str) -> PathBuf {
    made_once(&format!("pypi-{requirement}"), |dir| {
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--target"];
        run(Command::new("python3").args(install).arg(dir).arg(requirement));
    })
}

/// A package of npm and what it needs, in `node_modules`.
pub(super) fn of_npm(package: &str) -> PathBuf {
    made_once(&format!("npm-{}", package.replace('/', "-")), |dir| {
        let install = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        run(Command::new("npm").args(install).arg(dir).arg(package));
    })
}
