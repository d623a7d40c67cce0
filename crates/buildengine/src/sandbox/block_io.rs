//! How fast a step may read and write: its limits, on the disk below the state directory and on the step's own, which is a file on that
//! one and may be in memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::missing::Missing;
use crate::error::Error;
use crate::limits::Limits;

/// `linux.resources.blockIO` (OCI runtime specification, config-linux.md) for what lies at `places`, each device once; `None` where
/// nothing is limited.
///
/// # Errors
/// The files at one of the places are on no disk that can be limited.
pub(super) fn limits(limits: &Limits, places: &[&Path]) -> Result<Option<Value>, Error> {
    if limits.io_bytes.is_none() && limits.io_operations.is_none() {
        return Ok(None);
    }
    let devices = places.iter().map(|place| disk(place)).collect::<Result<BTreeSet<_>, _>>()?;
    let rate = |rate: Option<u64>| -> Value {
        let limited = rate.into_iter().flat_map(|rate| devices.iter().map(move |device| (device, rate)));
        limited.map(|((major, minor), rate)| json!({ "major": major, "minor": minor, "rate": rate })).collect()
    };
    Ok(Some(json!({
        "throttleReadBpsDevice": rate(limits.io_bytes),
        "throttleWriteBpsDevice": rate(limits.io_bytes),
        "throttleReadIOPSDevice": rate(limits.io_operations),
        "throttleWriteIOPSDevice": rate(limits.io_operations),
    })))
}

/// Major and minor number of the whole disk that `place` is on: the kernel limits no partition by itself.
fn disk(place: &Path) -> Result<(u32, u32), Error> {
    let device = fs::metadata(place).map_err(|source| Error::Scratch { path: place.to_owned(), source })?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let why = || Error::Lacking {
        missing: Missing::Cgroups,
        why: format!(
            "{} is on no disk whose input and output can be limited (device {major}:{minor})",
            place.display()
        ),
    };
    let known = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).map_err(|_| why())?;
    if !known.join("partition").exists() {
        return Ok((major, minor));
    }
    let whole = known.parent().and_then(|whole| fs::read_to_string(whole.join("dev")).ok());
    let numbers = whole.as_deref().and_then(|text| text.trim().split_once(':'));
    numbers.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?))).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_limited_needs_no_disk() {
        assert_eq!(limits(&Limits::default(), &[Path::new("/no/such/place")]).unwrap(), None);
    }

    #[test]
    fn what_is_on_no_disk_is_an_error() {
        let wanted = Limits { io_bytes: Some(1 << 20), ..Limits::default() };
        assert!(matches!(limits(&wanted, &[Path::new("/proc")]), Err(Error::Lacking { .. })));
    }
}
