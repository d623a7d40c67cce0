//! The environment of a stage: an ordered map of variables with constant-time lookup.

use std::collections::HashMap;
use std::sync::Arc;

/// Variables in the order the process will see them.
///
/// Setting a variable again moves it to the end, which is the order BuildKit's state hands to `RUN`. Texts are shared, so that
/// copies of an environment cost little.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// Slots in order of setting; a slot whose variable was set again is empty.
    slots: Vec<Option<Entry>>,
    /// Where a variable is, once there are enough of them that looking at each is slower.
    index: Option<HashMap<Box<str>, usize>>,
    len: usize,
}

/// A variable.
#[derive(Clone, Debug)]
struct Entry {
    /// `NAME=value`.
    text: Arc<str>,
    /// Length of the name in bytes.
    name_len: usize,
}

impl Entry {
    fn new(name: &str, value: &str) -> Self {
        Entry { text: [name, "=", value].concat().into(), name_len: name.len() }
    }

    fn name(&self) -> &str {
        &self.text[..self.name_len]
    }

    fn value(&self) -> &str {
        &self.text[self.name_len + 1..]
    }
}

/// Below this many slots a scan is quicker than hashing.
const SCAN_MAX: usize = 16;

/// Something that variables can be looked up in.
pub trait Variables {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variables at all.
#[derive(Clone, Copy, Debug)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

impl Variables for Env {
    fn get(&self, name: &str) -> Option<&str> {
        let slot = self.position(name)?;
        self.slots.get(slot)?.as_ref().map(Entry::value)
    }
}

impl Env {
    /// An empty environment.
    #[must_use]
    pub fn new() -> Self {
        Env::default()
    }

    /// Sets `name`, at the end of the order.
    pub fn set(&mut self, name: &str, value: &str) {
        self.set_entry(Entry::new(name, value));
    }

    /// Sets every variable of `other`, in its order.
    pub fn set_all(&mut self, other: &Env) {
        other.slots.iter().flatten().for_each(|entry| self.set_entry(entry.clone()));
    }

    /// Sets `name` here at the end of the order and in `other` in its old place: what `ENV` does to the two environments of a
    /// stage.
    pub(crate) fn set_in_both(&mut self, other: &mut Env, name: &str, value: &str) {
        let entry = Entry::new(name, value);
        match other.position(name) {
            Some(old) => other.slots[old] = Some(entry.clone()),
            None => other.set_entry(entry.clone()),
        }
        self.set_entry(entry);
    }

    fn set_entry(&mut self, entry: Entry) {
        match self.position(entry.name()) {
            Some(old) => self.slots[old] = None,
            None => self.len += 1,
        }
        self.slots.push(Some(entry));
        self.reindex();
    }

    /// Sets `name`, in its old place if it has one.
    pub fn replace(&mut self, name: &str, value: &str) {
        match self.position(name).and_then(|at| self.slots[at].as_mut()) {
            Some(old) => *old = Entry::new(name, value),
            None => self.set(name, value),
        }
    }

    /// Every variable as `NAME=value`, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<str>> {
        self.slots.iter().flatten().map(|entry| &entry.text)
    }

    /// How many variables are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no variable is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The variables in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.slots.iter().flatten().map(|entry| (entry.name(), entry.value()))
    }

    fn position(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.slots.iter().position(|slot| slot.as_ref().is_some_and(|entry| entry.name() == name)),
        }
    }

    /// Notes the newest slot, after squeezing out empty ones when they outnumber the others.
    fn reindex(&mut self) {
        let squeeze = self.slots.len() > SCAN_MAX && self.slots.len() > 2 * self.len;
        if squeeze {
            self.slots.retain(Option::is_some);
        }
        if self.slots.len() <= SCAN_MAX {
            self.index = None;
            return;
        }
        match &mut self.index {
            Some(index) if !squeeze => {
                let newest = self.slots.last().and_then(Option::as_ref);
                index.extend(newest.map(|entry| (entry.name().into(), self.slots.len() - 1)));
            }
            _ => {
                let slots = self.slots.iter().enumerate();
                let named = slots.filter_map(|(at, slot)| slot.as_ref().map(|entry| (entry.name().into(), at)));
                self.index = Some(named.collect());
            }
        }
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut env = Env::new();
        for (name, value) in pairs {
            env.set(name.as_ref(), value.as_ref());
        }
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_again_moves_to_the_end() {
        let env: Env = [("A", "1"), ("B", "2"), ("A", "3")].into_iter().collect();
        assert_eq!(env.iter().collect::<Vec<_>>(), [("B", "2"), ("A", "3")]);
        assert_eq!(env.len(), 2);
    }

    #[test]
    fn many_variables_and_many_changes_keep_their_order() {
        let mut env = Env::new();
        let mut model: Vec<(String, String)> = Vec::new();
        for round in 0..1000_u32 {
            let name = format!("V{}", (round * 7919) % 50);
            model.retain(|(key, _)| *key != name);
            model.push((name.clone(), round.to_string()));
            env.set(&name, &round.to_string());
            assert_eq!(env.get(&name), Some(round.to_string().as_str()));
        }
        let pairs: Vec<_> = env.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        assert_eq!(pairs, model);
        assert!(env.slots.len() <= 2 * env.len() + 1);
        assert_eq!(env.get("none"), None);
    }
}
