//! The graph of operations while it grows: equal operations are one, and the order at the end is BuildKit's.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::op::{Op, OpId, OpKind, Origin, SharedEnv};
use crate::env::Env;
use crate::limits::{Budget, LimitReached};

/// Operations so far.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ops: Vec<Op>,
    /// Operations by their hash, so that each is held once.
    known: HashMap<u64, Vec<OpId>>,
    hasher: RandomState,
    envs: HashSet<Arc<Vec<Arc<str>>>>,
}

/// What a variable of a process's environment costs besides its text.
const ENTRY_BYTES: usize = 32;

impl Graph {
    /// Adds an operation, or finds the one that is the same.
    pub(super) fn add(&mut self, kind: OpKind, origin: Origin, budget: &mut Budget) -> Result<OpId, LimitReached> {
        let same_hash = self.known.entry(self.hasher.hash_one(&kind)).or_default();
        if let Some(known) = same_hash.iter().find(|known| self.ops[**known].kind == kind) {
            return Ok(*known);
        }
        let ops_max = budget.limits().ops_max;
        if self.ops.len() >= ops_max {
            return Err(LimitReached::Ops(ops_max));
        }
        let id = self.ops.len();
        same_hash.push(id);
        self.ops.push(Op { kind, origin });
        Ok(id)
    }

    /// The one copy of an environment, with a variable more at its end.
    pub(super) fn share_env(
        &mut self,
        env: &Env,
        extra: Option<String>,
        budget: &mut Budget,
    ) -> Result<SharedEnv, LimitReached> {
        let extra = extra.map(Arc::from);
        let list: Vec<Arc<str>> = env.entries().cloned().chain(extra).collect();
        budget.spend_output(list.len() * ENTRY_BYTES)?;
        let list = Arc::new(list);
        if let Some(known) = self.envs.get(&list) {
            return Ok(SharedEnv::new(Arc::clone(known)));
        }
        self.envs.insert(Arc::clone(&list));
        Ok(SharedEnv::new(list))
    }

    /// What `root` needs, inputs before what they are for, and the new place of `root`.
    pub(super) fn finish(mut self, root: Option<OpId>) -> (Vec<Op>, Option<OpId>) {
        let order = self.order(root);
        let mut places = vec![0; self.ops.len()];
        for (place, id) in order.iter().enumerate() {
            places[*id] = place;
        }
        let mut ops = Vec::with_capacity(order.len());
        for id in order {
            let op = &mut self.ops[id];
            let origin = op.origin;
            let mut kind = std::mem::replace(&mut op.kind, OpKind::Merge { inputs: Vec::new() });
            kind.renumber(|input| places[input]);
            ops.push(Op { kind, origin });
        }
        (ops, root.map(|root| places[root]))
    }

    /// Depth first, by a list instead of recursion: chains are as long as files are.
    fn order(&self, root: Option<OpId>) -> Vec<OpId> {
        let mut seen = vec![false; self.ops.len()];
        let mut order = Vec::new();
        let mut open: Vec<(OpId, bool)> = root.into_iter().map(|root| (root, false)).collect();
        while let Some((id, entered)) = open.pop() {
            if entered {
                order.push(id);
            } else if !seen[id] {
                seen[id] = true;
                open.push((id, true));
                open.extend(self.ops[id].kind.inputs().into_iter().rev().map(|input| (input, false)));
            }
        }
        order
    }
}
