//! A directory of named things of bounded size: who uses one holds it, and those used least recently go first.
//!
//! ```text
//!   NAME           a file or a directory: complete, or not there
//!   NAME.lock      locked by who uses NAME; holds its size in bytes; its time is that of the last use
//!   NAME.partial   being made, or left by a maker that died
//!   NAME.gone      being removed, likewise
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::{lock, space};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::private;

const LOCK: &str = "lock";
const PARTIAL: &str = "partial";
const GONE: &str = "gone";

/// The directory.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    /// What it may hold, in bytes.
    bytes_max: u64,
}

/// A thing in use: it stays where it is until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    lock: File,
}

impl Held {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets how large it was: whoever wants to know measures it.
    pub(crate) fn forget_size(&self) -> io::Result<()> {
        self.lock.set_len(0)
    }

    /// Notes how large it is now.
    pub(crate) fn note_size(&self, bytes: u64) -> io::Result<()> {
        note_size(&self.lock, bytes)
    }
}

impl Shelf {
    /// The shelf in `dir`, which is made when something is put on it.
    pub(crate) fn new(dir: &Path, bytes_max: u64) -> Self {
        Self { dir: dir.to_owned(), bytes_max }
    }

    /// The thing of that name, made by `make` at the path it is given if it is not there. Of several that want it one makes it,
    /// the others wait. Then others may have to go.
    ///
    /// # Errors
    /// It can't be made or kept, or the build was cancelled while it waited.
    pub(crate) fn get(
        &self,
        name: &str,
        cancel: &Cancel,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Held, Error> {
        let maker = loop {
            if let Some(held) = self.find(name, cancel)? {
                return Ok(held);
            }
            // Whoever makes it holds it for as long as his build takes: to wait for the lock alone would be to wait for all of that.
            match self.try_lock(name, FlockOperation::NonBlockingLockExclusive)? {
                Some(maker) => break maker,
                None => lock::pause(cancel)?,
            }
        };
        let held = self.made(name, maker, make)?;
        // The kernel may let go of the lock in between: another then finds a complete thing that was used just now.
        flock(&held.lock, FlockOperation::LockShared).map_err(|errno| self.failed(errno.into()))?;
        self.prune()?;
        Ok(held)
    }

    /// The same, for nobody else to use meanwhile: waits until all others have let go of it.
    ///
    /// # Errors
    /// As [`Shelf::get`].
    pub(crate) fn get_alone(
        &self,
        name: &str,
        cancel: &Cancel,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Held, Error> {
        let lock = self.lock(name, FlockOperation::NonBlockingLockExclusive, cancel)?;
        self.made(name, lock, make)
    }

    /// The same without waiting: `None` when others use it.
    ///
    /// # Errors
    /// It can't be made or kept.
    pub(crate) fn try_get_alone(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Option<Held>, Error> {
        let lock = self.try_lock(name, FlockOperation::NonBlockingLockExclusive)?;
        lock.map(|lock| self.made(name, lock, make)).transpose()
    }

    /// The thing of that name, which `lock` holds for us alone; made if it is not there.
    fn made(&self, name: &str, lock: File, make: impl FnOnce(&Path) -> Result<(), Error>) -> Result<Held, Error> {
        let path = self.dir.join(name);
        if !exists(&path) {
            let partial = self.beside(name, PARTIAL);
            self.clear(&partial)?;
            // What can't be removed now is at the next pruning.
            make(&partial).inspect_err(|_| drop(self.clear(&partial)))?;
            let failed = |source| Error::Scratch { path: path.clone(), source };
            let bytes = space::used(&partial).map_err(failed)?.unwrap_or(u64::MAX);
            note_size(&lock, bytes).map_err(failed)?;
            fs::rename(&partial, &path).map_err(failed)?;
            File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        Ok(Held { path, lock })
    }

    /// The thing of that name, if it is there.
    fn find(&self, name: &str, cancel: &Cancel) -> Result<Option<Held>, Error> {
        let held =
            Held { path: self.dir.join(name), lock: self.lock(name, FlockOperation::NonBlockingLockShared, cancel)? };
        Ok(exists(&held.path).then_some(held))
    }

    /// The right to use what is or will be under that name; `operation` says whether alone. Marks it as used now.
    ///
    /// # Errors
    /// The lock can't be had, or the build was cancelled while it waited.
    fn lock(&self, name: &str, operation: FlockOperation, cancel: &Cancel) -> Result<File, Error> {
        private::make(&self.dir).map_err(|source| self.failed(source))?;
        let file = lock::wait(&self.beside(name, LOCK), operation, cancel, &mut || ())?;
        file.set_modified(SystemTime::now()).map_err(|source| self.failed(source))?;
        Ok(file)
    }

    /// The same without waiting: `None` when others are in the way.
    fn try_lock(&self, name: &str, operation: FlockOperation) -> Result<Option<File>, Error> {
        let attempt = || {
            private::make(&self.dir)?;
            let Some(file) = lock::attempt(&self.beside(name, LOCK), operation)? else { return Ok(None) };
            file.set_modified(SystemTime::now())?;
            Ok(Some(file))
        };
        attempt().map_err(|source| self.failed(source))
    }

    /// Removes what nobody uses until the rest is small enough, and what dead makers left.
    ///
    /// # Errors
    /// The directory can't be read, or something of it not removed.
    pub(crate) fn prune(&self) -> Result<(), Error> {
        let mut things = self.things().map_err(|source| self.failed(source))?;
        things.sort();
        let mut all = things.iter().fold(0_u64, |all, (.., bytes)| all.saturating_add(*bytes));
        for (_, name, bytes) in things {
            let too_much = all > self.bytes_max;
            let unfinished = [PARTIAL, GONE].iter().any(|what| exists(&self.beside(&name, what)));
            if !(too_much || unfinished) && exists(&self.dir.join(&name)) {
                continue;
            }
            let is_gone = self.take_away(&name, too_much)?;
            if too_much && is_gone {
                all = all.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    /// Removes what is there under that name, unless somebody uses it.
    ///
    /// # Errors
    /// It can't be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        self.take_away(name, true).map(drop)
    }

    /// Last use, name and size in bytes of everything.
    fn things(&self) -> io::Result<Vec<(SystemTime, String, u64)>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.dir)? {
            let file = entry?.file_name();
            let Some(file) = file.to_str() else { continue };
            let name = file.rsplit_once('.').filter(|(_, what)| [LOCK, PARTIAL, GONE].contains(what));
            names.insert(name.map_or(file, |(name, _)| name).to_owned());
        }
        let thing = |name: String| {
            // Of what has no lock nobody knows when it was used.
            let used = fs::metadata(self.beside(&name, LOCK)).and_then(|lock| lock.modified());
            let bytes = if exists(&self.dir.join(&name)) { self.size(&name)? } else { 0 };
            Ok((used.unwrap_or(SystemTime::UNIX_EPOCH), name, bytes))
        };
        names.into_iter().map(thing).collect()
    }

    /// The size that was noted, or measured where none was.
    fn size(&self, name: &str) -> io::Result<u64> {
        let noted = fs::read_to_string(self.beside(name, LOCK)).ok().and_then(|text| text.trim_end().parse().ok());
        match noted {
            Some(bytes) => Ok(bytes),
            None => Ok(space::used(&self.dir.join(name))?.unwrap_or(u64::MAX)),
        }
    }

    /// Removes what is unfinished of a name and, if `whole`, what is there under it; `false` when somebody uses it.
    fn take_away(&self, name: &str, whole: bool) -> Result<bool, Error> {
        let Some(_alone) = lock::attempt(&self.beside(name, LOCK), FlockOperation::NonBlockingLockExclusive)
            .map_err(|source| self.failed(source))?
        else {
            return Ok(false);
        };
        let (path, gone) = (self.dir.join(name), self.beside(name, GONE));
        self.clear(&self.beside(name, PARTIAL))?;
        self.clear(&gone)?;
        if whole && exists(&path) {
            // Half of a tree must not be found under its name.
            fs::rename(&path, &gone).map_err(|source| self.failed(source))?;
            self.clear(&gone)?;
        }
        if !exists(&path) {
            // While it is locked: who waits for it finds that it is not the file of that name any more.
            fs::remove_file(self.beside(name, LOCK)).map_err(|source| self.failed(source))?;
        }
        Ok(true)
    }

    fn clear(&self, path: &Path) -> Result<(), Error> {
        space::remove(path).map_err(|source| Error::Scratch { path: path.to_owned(), source })
    }

    fn beside(&self, name: &str, what: &str) -> PathBuf {
        self.dir.join(format!("{name}.{what}"))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Scratch { path: self.dir.clone(), source }
    }
}

fn note_size(mut lock: &File, bytes: u64) -> io::Result<()> {
    io::Seek::seek(&mut lock, io::SeekFrom::Start(0))?;
    // Of one length always, so that no half of a longer number stays.
    writeln!(lock, "{bytes:020}")
}

/// Whether there is anything, also a link that leads nowhere.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn put(shelf: &Shelf, name: &str, bytes: usize) -> Held {
        let make = |path: &Path| {
            fs::write(path, vec![1; bytes]).unwrap();
            Ok(())
        };
        shelf.get(name, &Cancel::default(), make).unwrap()
    }

    fn used_long_ago(shelf: &Shelf, name: &str, seconds: u64) {
        let lock = File::options().write(true).open(shelf.beside(name, LOCK)).unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    fn names(shelf: &Shelf) -> Vec<String> {
        let names = fs::read_dir(&shelf.dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }

    #[test]
    fn the_least_recently_used_goes_unless_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path(), 250_000);
        let held = put(&shelf, "held", 100_000);
        drop(put(&shelf, "old", 100_000));
        used_long_ago(&shelf, "held", 300);
        used_long_ago(&shelf, "old", 200);
        drop(put(&shelf, "new", 100_000));
        assert_eq!(names(&shelf), ["held", "new"]);
        drop(held);
        used_long_ago(&shelf, "held", 300);
        drop(put(&shelf, "newer", 100_000));
        assert_eq!(names(&shelf), ["new", "newer"]);
        // Use makes it young.
        used_long_ago(&shelf, "new", 100);
        used_long_ago(&shelf, "newer", 50);
        drop(shelf.get("new", &Cancel::default(), |_| unreachable!("it is there")).unwrap());
        drop(put(&shelf, "newest", 100_000));
        assert_eq!(names(&shelf), ["new", "newest"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "no lock of what is gone stays");
    }

    #[test]
    fn what_dead_makers_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path(), 1 << 30);
        for end in ["partial", "gone"] {
            fs::create_dir_all(dir.path().join(format!("dead-{end}.{end}/sub"))).unwrap();
            fs::write(dir.path().join(format!("dead-{end}.lock")), "").unwrap();
        }
        fs::write(dir.path().join("again.partial"), "half").unwrap();
        drop(put(&shelf, "again", 10));
        assert_eq!(names(&shelf), ["again"]);
        assert_eq!(fs::read(dir.path().join("again")).unwrap(), [1; 10]);
        let failed = shelf.get("bad", &Cancel::default(), |path| {
            fs::write(path, "half").unwrap();
            Err(Error::Cancelled)
        });
        assert!(failed.is_err());
        assert_eq!(names(&shelf), ["again"], "what failed leaves nothing");
        shelf.prune().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn nobody_waits_for_those_who_use_it() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path(), 1 << 30);
        let other = shelf.try_lock("one", FlockOperation::NonBlockingLockShared).unwrap().unwrap();
        let (found, told) = std::sync::mpsc::channel();
        let path = dir.path().to_owned();
        std::thread::spawn(move || {
            let held = Shelf::new(&path, 1 << 30).get("one", &Cancel::default(), |_| Err(Error::Cancelled));
            found.send(held.map(drop)).unwrap();
        });
        // It looked, and could not make it while another was looking too, who then made it and goes on with his build.
        assert!(told.recv_timeout(Duration::from_millis(200)).is_err(), "it can't be made while another holds it");
        fs::write(dir.path().join("one"), "made").unwrap();
        told.recv_timeout(Duration::from_secs(60)).expect("it is found while the other holds it").unwrap();
        drop(other);
    }

    #[test]
    fn one_makes_it_and_the_others_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path(), 1 << 30);
        let (shelf, made, cancel) = (&shelf, &std::sync::atomic::AtomicU32::new(0), &Cancel::default());
        let make = |path: &Path| {
            made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            fs::create_dir(path).unwrap();
            Ok(())
        };
        let (done, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let done = done.clone();
                scope.spawn(move || done.send(shelf.get("one", cancel, make).unwrap()).unwrap());
            }
            drop(done);
            // All of them have it at once.
            let told = || told.recv_timeout(Duration::from_secs(60)).inspect_err(|_| cancel.cancel());
            let held: Vec<Held> = (0..4).map(|_| told().expect("nobody waits for another")).collect();
            assert!(held.iter().all(|held| held.path().is_dir()));
        });
        assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}
