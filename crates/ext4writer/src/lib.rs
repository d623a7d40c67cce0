//! A file system tree to an ext4 image, in parallel and reproducibly.
#![forbid(unsafe_code)]
