//! The list of deliberate differences: `differences.txt`, one `name <tab> level <tab> reason` a line.

use std::collections::BTreeSet;

pub(crate) struct Differences {
    listed: BTreeSet<(&'static str, &'static str)>,
    used: BTreeSet<(&'static str, &'static str)>,
}

impl Differences {
    pub(crate) fn load() -> Self {
        let lines = include_str!("differences.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let listed = lines.map(|line| {
            let mut fields = line.split('\t');
            match (fields.next(), fields.next(), fields.next()) {
                (Some(name), Some(level), Some(reason)) if !reason.is_empty() => (name, level),
                _ => panic!("not `name <tab> level <tab> reason`: {line}"),
            }
        });
        Self { listed: listed.collect(), used: BTreeSet::new() }
    }

    pub(crate) fn lists(&mut self, name: &str, level: &str) -> bool {
        let found = self.listed.iter().find(|entry| **entry == (name, level)).copied();
        self.used.extend(found);
        found.is_some()
    }

    /// Entries that agree after all.
    pub(crate) fn unused(&self) -> impl Iterator<Item = String> + '_ {
        self.listed.difference(&self.used).map(|(name, level)| format!("differences.txt: {name} agrees at {level}"))
    }
}
