//! The graph of operations while it grows: equal operations are one, and the order at the end is BuildKit's.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};

use super::op::{Op, OpId, OpKind, Origin, SharedEnv};
use crate::env::Env;
use crate::limits::{Budget, LimitReached};

/// Operations so far.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ops: Vec<Op>,
    /// The newest operation of each hash, so that each is held once.
    known: HashMap<u64, OpId>,
    /// For each operation the one before it that has the same hash.
    earlier: Vec<Option<OpId>>,
    hasher: RandomState,
    envs: HashSet<Arc<Vec<Arc<str>>>>,
}

/// What a variable of a process's environment costs besides its text.
const ENTRY_BYTES: usize = 32;

impl Graph {
    /// Adds an operation, or finds the one that is the same.
    pub(super) fn add(&mut self, kind: OpKind, origin: Origin, budget: &mut Budget) -> Result<OpId, LimitReached> {
        let hash = self.hasher.hash_one(&kind);
        let newest = self.known.get(&hash).copied();
        let mut same_hash = std::iter::successors(newest, |id| self.earlier[*id]);
        if let Some(known) = same_hash.find(|id| self.ops[*id].kind == kind) {
            return Ok(known);
        }
        let ops_max = budget.limits().ops_max;
        if self.ops.len() >= ops_max {
            return Err(LimitReached::Ops(ops_max));
        }
        let id = self.ops.len();
        self.known.insert(hash, id);
        self.earlier.push(newest);
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
        let mut order = Vec::with_capacity(self.ops.len());
        let mut inputs = Vec::new();
        let mut open: Vec<(OpId, bool)> = root.into_iter().map(|root| (root, false)).collect();
        while let Some((id, entered)) = open.pop() {
            if entered {
                order.push(id);
            } else if !seen[id] {
                seen[id] = true;
                open.push((id, true));
                self.ops[id].kind.list_inputs(&mut inputs);
                open.extend(inputs.iter().rev().map(|input| (*input, false)));
            }
        }
        order
    }
}
