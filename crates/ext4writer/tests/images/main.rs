//! Images made from trees, judged by e2fsck, by an independent reader and by the kernel.
#![cfg(test)]

mod classes;
mod faults;
mod kernel;
mod matrix;
mod placement;
mod properties;
mod reflink;
mod sizes;
mod support;
mod threads;
mod trees;
#[path = "../../../../tests/unmount.rs"]
mod unmount;
