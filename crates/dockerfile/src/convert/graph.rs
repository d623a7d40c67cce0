//! The graph of operations while it grows: equal operations are one, and the order at the end is BuildKit's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::op::{Op, OpId, OpKind, Origin, SharedEnv};
use crate::env::Env;
use crate::limits::{Budget, LimitReached};

/// Operations so far.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ops: Vec<Op>,
    known: HashMap<OpKind, OpId>,
    envs: HashSet<Arc<Vec<String>>>,
}

impl Graph {
    /// Adds an operation, or finds the one that is the same.
    pub(super) fn add(&mut self, kind: OpKind, origin: Origin, budget: &mut Budget) -> Result<OpId, LimitReached> {
        if let Some(known) = self.known.get(&kind) {
            return Ok(*known);
        }
        let ops_max = budget.limits().ops_max;
        if self.ops.len() >= ops_max {
            return Err(LimitReached::Ops(ops_max));
        }
        let id = self.ops.len();
        self.known.insert(kind.clone(), id);
        self.ops.push(Op { kind, origin });
        Ok(id)
    }

    /// The one copy of an environment, with `extra` variables at its end.
    pub(super) fn share_env(
        &mut self,
        env: &Env,
        extra: &[String],
        budget: &mut Budget,
    ) -> Result<SharedEnv, LimitReached> {
        let list: Vec<String> =
            env.iter().map(|(name, value)| format!("{name}={value}")).chain(extra.iter().cloned()).collect();
        budget.spend_output(list.iter().map(String::len).sum())?;
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
