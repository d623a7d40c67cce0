//! What a step used of what it may use.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a command used, as far as the host can tell, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Of the disk, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Of the disk at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_limit_bytes: Option<u64>,
    /// Memory at its peak, the cache of files included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Memory at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
}

/// `disk 1048576 of 104857600 bytes, memory 52428800 of 52428800 bytes at the peak`; what is not known is left out.
impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name: &str, used: Option<u64>, limit: Option<u64>, when: &str| {
            let limit = limit.map(|bytes| format!(" of {bytes}")).unwrap_or_default();
            used.map(|bytes| format!("{name} {bytes}{limit} bytes{when}"))
        };
        let disk = part("disk", self.disk_bytes, self.disk_limit_bytes, "");
        let memory = part("memory", self.memory_peak_bytes, self.memory_limit_bytes, " at the peak");
        formatter.write_str(&disk.into_iter().chain(memory).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(Usage::default().to_string(), "");
        let disk = Usage { disk_bytes: Some(1), disk_limit_bytes: Some(2), ..Usage::default() };
        assert_eq!(disk.to_string(), "disk 1 of 2 bytes");
        let both = Usage { memory_peak_bytes: Some(3), ..disk };
        assert_eq!(both.to_string(), "disk 1 of 2 bytes, memory 3 bytes at the peak");
        assert_eq!(
            serde_json::to_string(&both).unwrap(),
            r#"{"disk_bytes":1,"disk_limit_bytes":2,"memory_peak_bytes":3}"#
        );
    }
}
