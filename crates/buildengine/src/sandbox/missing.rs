//! Parts of the isolation that not every host can give. A host that lacks one is refused, unless the operator has said by
//! name that it may be missing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of the isolation that may be missing where the operator allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Missing {
    /// Control groups: without them nothing limits memory, processes and input and output of a step.
    Cgroups,
    /// Loop devices: without them root file systems are unpacked, and the disk of a step is watched instead of bounded.
    LoopDevices,
    /// User namespaces, and mounts that map into them: without them root of a step is root of the host, in a cage.
    UserNamespaces,
}

impl Missing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cgroups, Self::LoopDevices, Self::UserNamespaces];

    /// The name, as it is written in options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroups => "cgroups",
            Self::LoopDevices => "loop-devices",
            Self::UserNamespaces => "user-namespaces",
        }
    }

    /// What steps lack without it.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Cgroups => "limits on memory and processes",
            Self::LoopDevices => "disks of their own",
            Self::UserNamespaces => "ids of their own",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Missing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|missing| missing.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|missing| missing.name()).collect();
            format!("what may be missing is one of {}; '{text}' is none of them", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_one_name() {
        for missing in Missing::ALL {
            assert_eq!(missing.name().parse(), Ok(missing));
            assert_eq!(serde_json::to_value(missing).unwrap(), missing.name());
        }
        assert!("limits".parse::<Missing>().unwrap_err().contains("cgroups"));
    }
}
