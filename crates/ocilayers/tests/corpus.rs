//! The shared corpora of small images: `semantics`, each with the tree it stands for, and `hostile`, each with what is
//! required of whoever reads it.
#![cfg(test)]

#[path = "corpus/hostile.rs"]
mod hostile;
#[path = "corpus/killed.rs"]
mod killed;
#[path = "corpus/limits.rs"]
mod limits;
#[path = "corpus/properties.rs"]
mod properties;
#[path = "corpus/raw.rs"]
mod raw;
#[path = "corpus/rules.rs"]
mod rules;
#[path = "corpus/semantics.rs"]
mod semantics;
#[path = "corpus/shared.rs"]
mod shared;
#[path = "corpus/umoci.rs"]
mod umoci;
