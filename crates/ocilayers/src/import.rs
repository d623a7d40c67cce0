//! A tar of a root file system as an image of one layer.

use std::io::{self, Read};
use std::path::Path;

use fstree::Tree;
use oci_spec::image::Arch;
use serde_json::{Value, json};

use crate::digest::Hashing;
use crate::error::Error;
use crate::flatten::{flatten, newest_mtime, open_tar};
use crate::layout::{self, Written};
use crate::limits::Limits;
use crate::store::Layer;

/// The search path of an image that says none (the one of Docker and BuildKit).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The last second of the year 9999, the last that RFC 3339 can write.
const LAST_SECOND: i64 = 253_402_300_799;

/// Writes the uncompressed tar `tar` (`-` is standard input) as the only layer of an image into the layout `dir`.
///
/// The config is made from the tar alone: this machine's architecture, the time of the youngest file, a search path and
/// the shell that is there.
///
/// # Errors
/// The tar is none that can be taken, or the layout can't be written.
pub fn import(tar: &Path, dir: &Path, tag: &str, limits: &Limits) -> Result<Written, Error> {
    let (file, len) = open_tar(tar, limits)?;
    let mut reader = Hashing::new(io::BufReader::with_capacity(1 << 20, file.try_clone().map_err(Error::file(tar))?));
    rewind(&file, tar)?;
    io::copy(&mut reader.by_ref().take(len), &mut io::sink()).map_err(Error::file(tar))?;
    let (_, diff_id, size) = reader.finish();
    let layers = [Layer::of_file(diff_id, size, file)];
    let config = config(&flatten(&layers, limits)?, tar);
    layout::write(dir, tag, config, &layers, limits)
}

fn rewind(mut file: &std::fs::File, tar: &Path) -> Result<(), Error> {
    use std::io::Seek;
    file.rewind().map_err(Error::file(tar))
}

fn config(tree: &Tree, tar: &Path) -> Value {
    let created = rfc3339(newest_mtime(tree).min(LAST_SECOND));
    let exists = |path: &str| tree.resolve(path.as_bytes()).is_ok_and(|found| found.node.is_some());
    let shell = if exists("/bin/bash") { "/bin/bash" } else { "/bin/sh" };
    let name = tar.file_name().map_or_else(|| "-".to_owned(), |name| name.to_string_lossy().into_owned());
    json!({
        "created": created,
        "architecture": Arch::default().to_string(),
        "os": "linux",
        "config": { "Env": [PATH], "Cmd": [shell] },
        "history": [{ "created": created, "created_by": format!("drydock image import {name}") }],
    })
}

/// A time as RFC 3339 in UTC, as the documents of an image have it (OCI image specification, config.md, `created`).
///
/// Days to dates by counting 400-year eras from March on, so that leap days come last.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (LAST_SECOND, "9999-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
