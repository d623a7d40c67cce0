//! A Dockerfile and a base image in, a bootable ext4 root filesystem out.
#![forbid(unsafe_code)]
