//! A small file that appears under its name when it is complete.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::lock;

/// Writes `bytes` to the file `path`, which is replaced if it exists: complete and on the disk, or as it was. Its mode is `mode`
/// less the umask.
///
/// On the way it is `.NAME.partial` beside it, the same every time: what a killed process left there goes with the next one.
///
/// # Errors
/// It can't be made, written or renamed.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let partial = partial(path);
    let mut file = create(&partial, mode)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written?;
    File::open(dir)?.sync_all()
}

/// What `path` is called on the way.
fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// A new file, locked, in place of one that nobody writes any more. Who else writes it is waited for.
fn create(partial: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    loop {
        match fs::symlink_metadata(partial) {
            Ok(left) if !left.is_file() => {
                return Err(io::Error::other(format!("{} is in the way", partial.display())));
            }
            Ok(_) => match lock::attempt(partial, FlockOperation::NonBlockingLockExclusive)? {
                Some(_dead) => fs::remove_file(partial)?,
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
            },
            Err(_) => {}
        }
        let made = File::options().write(true).create_new(true).mode(Permissions::from_mode(mode).mode()).open(partial);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                let file = made?;
                flock(&file, FlockOperation::LockExclusive)?;
                // Another may have taken it for dead before it was locked.
                if lock::is_current(&file, partial) {
                    return Ok(file);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_as_it_was_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(dir.path().join(".file.partial"), "left by a killed process").unwrap();
        write_whole(&path, b"one", 0o600).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().permissions().mode() & 0o777),
            (b"one".to_vec(), 0o600)
        );
        std::thread::scope(|scope| {
            for n in 0..4_u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write_whole(path, &vec![n; 1_000], 0o644).unwrap()));
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 1_000 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(".file.partial")).unwrap();
        assert!(write_whole(&path, b"two", 0o600).unwrap_err().to_string().contains("in the way"));
    }
}
