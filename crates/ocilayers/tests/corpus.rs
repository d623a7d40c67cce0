//! The shared corpora of small images: `semantics`, each with the tree it stands for, and `hostile`, each with what is
//! required of whoever reads it.
#![cfg(test)]

#[path = "corpus/hostile.rs"]
mod hostile;
#[path = "corpus/made.rs"]
mod made;
#[path = "corpus/properties.rs"]
mod properties;
#[path = "corpus/semantics.rs"]
mod semantics;
#[path = "corpus/shared.rs"]
mod shared;
#[path = "corpus/umoci.rs"]
mod umoci;
