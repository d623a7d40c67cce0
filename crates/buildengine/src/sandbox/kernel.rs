//! System calls that rustix does not have, as safe functions. This file holds all `unsafe` of Drydock.
//!
//! Layouts and numbers: `linux/loop.h` and `linux/mount.h` of the kernel, loop(4), mount_setattr(2).
#![expect(unsafe_code, reason = "no crate in use offers these calls; each call below says why it is sound")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `LOOP_CTL_GET_FREE` and `LOOP_CONFIGURE`.
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
/// `lo_flags`: the device gives its file back when the last user closes it, be that a file system or a process that died.
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    lo_device: u64,
    lo_inode: u64,
    lo_rdevice: u64,
    lo_offset: u64,
    lo_sizelimit: u64,
    lo_number: u32,
    lo_encrypt_type: u32,
    lo_encrypt_key_size: u32,
    lo_flags: u32,
    lo_file_name: [u8; 64],
    lo_crypt_name: [u8; 64],
    lo_encrypt_key: [u8; 32],
    lo_init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

/// The number of a loop device that nobody used a moment ago; made when there is none.
pub(super) fn free_loop_device(control: &File) -> io::Result<u32> {
    // SAFETY: the request takes no argument and touches no memory of this process; the descriptor is open.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Puts `file` behind the loop device `device`, which gives it back by itself.
///
/// # Errors
/// `EBUSY` when somebody else took the device meanwhile; else why the kernel does not do it.
pub(super) fn configure_loop_device(device: &File, file: &File, read_only: bool) -> io::Result<()> {
    let config = LoopConfig {
        fd: u32::try_from(file.as_raw_fd()).expect("an open descriptor is not negative"),
        block_size: 0,
        info: LoopInfo {
            lo_device: 0,
            lo_inode: 0,
            lo_rdevice: 0,
            lo_offset: 0,
            lo_sizelimit: 0,
            lo_number: 0,
            lo_encrypt_type: 0,
            lo_encrypt_key_size: 0,
            lo_flags: LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 },
            lo_file_name: [0; 64],
            lo_crypt_name: [0; 64],
            lo_encrypt_key: [0; 32],
            lo_init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the request reads one `struct loop_config`, whose size is asserted above, from a pointer that is valid for the
    // time of the call, and keeps no pointer to it; both descriptors are open.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives a mount that is not attached anywhere the ids of a user namespace: what the namespace maps from is what is on disk.
///
/// # Errors
/// `EINVAL` where the file system can't, or the mount is attached or mapped already.
pub(super) fn map_ids(mount: impl AsFd, namespace: &File) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_raw_fd()).expect("an open descriptor is not negative"),
    };
    // SAFETY: mount_setattr(2) takes a descriptor, a path, flags, and a `struct mount_attr` with its size, which it reads during
    // the call alone; both pointers are valid for that time, the path ends with NUL, and both descriptors are open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
