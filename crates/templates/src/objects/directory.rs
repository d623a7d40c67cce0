//! Objects in a directory that all hosts mount: written below `tmp/`, synced, and linked to a name that nobody has.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::{COPY_BYTES, Place};
use crate::artifact::remove_file;
use crate::error::Error;

/// How often a directory that others remove is made again.
const LINK_TRIES: u32 = 10;

#[derive(Debug)]
pub(super) struct Directory {
    dir: PathBuf,
    node: String,
    number: AtomicU64,
}

impl Directory {
    /// Makes it, and removes what a former life of this host left unfinished.
    pub(super) fn open(dir: &Path, node: &str) -> Result<Self, Error> {
        let tmp = dir.join("tmp");
        fs::create_dir_all(&tmp).map_err(Error::file(&tmp))?;
        for name in names(&tmp)? {
            if name.split_once('.').is_some_and(|(of, _)| of == node) {
                remove_file(&tmp.join(name))?;
            }
        }
        Ok(Self { dir: dir.to_owned(), node: node.to_owned(), number: AtomicU64::new(0) })
    }
}

impl Place for Directory {
    fn put(&self, name: &str, file: &File) -> Result<(), Error> {
        let path = self.dir.join(name);
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join("tmp").join(format!("{}.{number}", self.node));
        let put = File::create_new(&temporary).and_then(|out| {
            copy(file, &out)?;
            out.sync_all()?;
            link(&temporary, &path)
        });
        remove_file(&temporary)?;
        put.map_err(Error::file(path))
    }

    fn get(&self, name: &str, to: &File, bytes_max: u64) -> Result<bool, Error> {
        let path = self.dir.join(name);
        let from = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            from => from.map_err(Error::file(&path))?,
        };
        let len = from.metadata().map_err(Error::file(&path))?.len();
        if len > bytes_max {
            return Err(Error::Object {
                name: name.to_owned(),
                why: format!("it is {len} bytes large, more than it can be"),
            });
        }
        copy(&from, to).map_err(Error::file(&path))?;
        Ok(true)
    }

    fn read(&self, name: &str, at: u64, len: usize) -> Result<Option<Vec<u8>>, Error> {
        let path = self.dir.join(name);
        let mut from = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            from => from.map_err(Error::file(&path))?,
        };
        let mut bytes = Vec::with_capacity(len);
        let limit = u64::try_from(len).expect("usize fits in u64");
        let read = from.seek(io::SeekFrom::Start(at)).and_then(|_| from.take(limit).read_to_end(&mut bytes));
        read.map_err(Error::file(&path))?;
        Ok(Some(bytes))
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        remove_file(&path)?;
        // Its directory stays as long as there is something else in it.
        drop(path.parent().map(fs::remove_dir));
        Ok(())
    }

    fn list(&self, below: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for name in names(&self.dir.join(below))? {
            let name = format!("{below}/{name}");
            // Two levels are all there are.
            if self.dir.join(&name).is_dir() {
                found.extend(names(&self.dir.join(&name))?.into_iter().map(|one| format!("{name}/{one}")));
            } else {
                found.push(name);
            }
        }
        Ok(found)
    }
}

/// Gives a file a name that nobody has, durably; if somebody has it, the object is there already.
fn link(temporary: &Path, path: &Path) -> io::Result<()> {
    let dir = path.parent().expect("an object is in a directory");
    for attempt in 1.. {
        fs::create_dir_all(dir)?;
        match fs::hard_link(temporary, path) {
            // Somebody removed the directory as empty in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < LINK_TRIES => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            linked => {
                linked?;
                let parents = dir.ancestors().take(3);
                return parents.into_iter().try_for_each(|dir| File::open(dir)?.sync_all());
            }
        }
    }
    unreachable!("the last attempt returns")
}

/// The names in a directory, sorted; none if it is not there.
fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(Error::file(dir))?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// Copies content and leaves holes out.
fn copy(from: &File, to: &File) -> io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut end = 0;
    loop {
        let mut at = match seek(from, SeekFrom::Data(end)) {
            Ok(at) => at,
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        end = seek(from, SeekFrom::Hole(at))?;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            from.read_exact_at(&mut buffer[..len], at)?;
            to.write_all_at(&buffer[..len], at)?;
            at += u64::try_from(len).expect("usize fits in u64");
        }
    }
}
