//! Results of steps, on disk: one small file a key, complete or not there.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::key::{Inputs, Key, chain};
use super::lock;
use super::whole::write_whole;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::private;

/// Longer than any entry; what is longer was not written here.
const ENTRY_BYTES_MAX: u64 = 128 << 10;
/// How many earlier results of an instruction are looked at to say what changed.
const EARLIER_MAX: usize = 4;
/// Files that the cache may hold; past it the least recently used go.
const FILES_MAX: usize = 20_000;

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The diff_id of its layer; none for a step that changed nothing.
    pub(crate) layer: Option<String>,
    /// A digest of each input, by name.
    inputs: BTreeMap<String, String>,
}

/// The directory of the step cache.
#[derive(Debug)]
pub(crate) struct StepCache {
    dir: PathBuf,
    /// Older results are not used.
    max_age: Option<Duration>,
    files_max: usize,
}

impl StepCache {
    /// The cache in `dir`, which is made if needed.
    pub(crate) fn open(dir: &Path, max_age: Option<Duration>) -> Result<Self, Error> {
        private::make(dir).map_err(|source| Error::Scratch { path: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned(), max_age, files_max: FILES_MAX })
    }

    /// The result of that key, if there is one that is not too old. An entry that can't be understood is none.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let entry = self.read(key.as_str())?;
        let entry = entry.filter(|(_, age)| self.takes(*age)).map(|(entry, _)| entry);
        if entry.is_some() {
            self.used(key);
        }
        Ok(entry)
    }

    /// Marks an entry as used now: in the time of the last access, since that of the last change is its age.
    fn used(&self, key: &Key) {
        let times = FileTimes::new().set_accessed(SystemTime::now());
        // What was removed meanwhile is made again, and a directory that can't be written is still one to read from.
        let _ = File::open(self.dir.join(key.as_str())).and_then(|file| file.set_times(times));
    }

    /// An entry and its age.
    fn read(&self, name: &str) -> Result<Option<(Entry, Duration)>, Error> {
        let path = self.dir.join(name);
        let failed = |source| Error::Scratch { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let made = file.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
        let mut text = Vec::new();
        file.take(ENTRY_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        // A clock that was set back makes nothing older than it is.
        let age = SystemTime::now().duration_since(made).unwrap_or_default();
        Ok(serde_json::from_slice(&text).ok().map(|entry| (entry, age)))
    }

    /// Remembers what the step `text` of `owner` made of these inputs. The layer must be durable already.
    pub(crate) fn put(
        &self,
        key: &Key,
        inputs: &Inputs,
        layer: Option<String>,
        owner: &str,
        text: &str,
    ) -> Result<Entry, Error> {
        // The entry comes last: as long as it is not there the step is done again, and so are the writes that a kill broke off.
        // Of two builds that write the list at once one may lose its line: then less can be said, and no more.
        let list = instruction(owner, text);
        let mut keys = self.earlier(&list);
        keys.retain(|earlier| earlier != key.as_str());
        keys.insert(0, key.as_str().to_owned());
        keys.truncate(EARLIER_MAX);
        self.write(&list, keys.join("\n").as_bytes())?;
        let entry = Entry { layer, inputs: inputs.remembered() };
        self.write(key.as_str(), &serde_json::to_vec(&entry).expect("entries have string keys"))?;
        self.prune()?;
        Ok(entry)
    }

    /// Whether a result of that age is used.
    pub(crate) fn takes(&self, age: Duration) -> bool {
        self.max_age.is_none_or(|max| age <= max)
    }

    /// Remembers an entry that was made elsewhere so long ago. Its layer must be durable already.
    pub(crate) fn take(&self, key: &Key, entry: &Entry, age: Duration) -> Result<(), Error> {
        self.write(key.as_str(), &serde_json::to_vec(entry).expect("entries have string keys"))?;
        let made = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        // If it is lost the entry is younger than it should be, but not wrong.
        let _ = File::open(self.dir.join(key.as_str())).and_then(|file| file.set_modified(made));
        self.prune()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let written = write_whole(&self.dir.join(name), bytes, 0o600);
        written.map_err(|source| Error::Scratch { path: self.dir.clone(), source })
    }

    /// The keys of earlier results of an instruction, newest first.
    fn earlier(&self, list: &str) -> Vec<String> {
        let mut text = String::new();
        let read = File::open(self.dir.join(list)).and_then(|file| file.take(4_096).read_to_string(&mut text));
        let is_key = |line: &&str| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        read.map_or(Vec::new(), |_| text.lines().filter(is_key).take(EARLIER_MAX).map(str::to_owned).collect())
    }

    /// Which inputs differ from those of the nearest earlier result of the same instruction and owner; none when it has no
    /// earlier result. Empty when there is one with the same inputs, which is too old or whose layer was dropped.
    pub(crate) fn differences(&self, inputs: &Inputs, owner: &str, text: &str) -> Result<Option<Vec<String>>, Error> {
        let now = inputs.remembered();
        let mut nearest: Option<Vec<String>> = None;
        for key in self.earlier(&instruction(owner, text)) {
            let Some((entry, _)) = self.read(&key)? else { continue };
            let mut names: Vec<String> = now.keys().chain(entry.inputs.keys()).cloned().collect();
            names.retain(|name| now.get(name) != entry.inputs.get(name));
            names.sort();
            names.dedup();
            if nearest.as_ref().is_none_or(|nearest| names.len() < nearest.len()) {
                nearest = Some(names);
            }
        }
        Ok(nearest)
    }

    /// Holds the right to make the result of that key. `on_wait` is called once when somebody else is at it.
    pub(crate) fn claim(&self, key: &Key, cancel: &Cancel, on_wait: &mut dyn FnMut()) -> Result<Claim, Error> {
        Claim::take(&self.dir.join(format!("{}.lock", key.as_str())), cancel, on_wait)
    }

    /// Removes the files used least recently when there are too many. Any of them may go at any time: a result that is gone is
    /// made again.
    fn prune(&self) -> Result<(), Error> {
        let failed = |source| Error::Scratch { path: self.dir.clone(), source };
        let entries = fs::read_dir(&self.dir).map_err(failed)?.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        if entries.len() <= self.files_max {
            return Ok(());
        }
        let used = |entry: &fs::DirEntry| {
            // What was removed meanwhile is gone, as it should be.
            let accessed = entry.metadata().and_then(|metadata| metadata.accessed()).ok();
            accessed.map(|accessed| (accessed, entry.path()))
        };
        let mut files: Vec<_> = entries.iter().filter_map(used).collect();
        files.sort();
        for (_, path) in files.iter().take(entries.len() - self.files_max * 9 / 10) {
            // A claim that somebody holds is not to be had by another.
            let is_claim = path.extension().is_some_and(|extension| extension == "lock");
            if !is_claim
                || lock::attempt(path, FlockOperation::NonBlockingLockExclusive).is_ok_and(|free| free.is_some())
            {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// The name of the list of an instruction's results: an owner sees its own alone.
fn instruction(owner: &str, text: &str) -> String {
    format!("{}.earlier", chain(&["instruction", owner, text]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Network, Run};

    fn inputs(parent: &str, env: &str) -> Inputs {
        let run = Run {
            args: vec![],
            env: vec![env.to_owned()],
            cwd: "/".to_owned(),
            user: String::new(),
            network: Network::None,
            mounts: vec![],
            files: vec![],
        };
        Inputs::of_run("", &[parent.to_owned()], &run, crate::sandbox::NetworkMode::Egress, None)
    }

    #[test]
    fn what_was_put_is_got_until_it_is_too_old() {
        let dir = tempfile::tempdir().unwrap();
        let steps = dir.path().join("steps");
        let cache = StepCache::open(&steps, None).unwrap();
        let (inputs, key) = (inputs("p", "A=1"), inputs("p", "A=1").key());
        assert_eq!(cache.get(&key).unwrap(), None);
        cache.put(&key, &inputs, Some("sha256:aa".to_owned()), "", "RUN x").unwrap();
        cache.put(&key, &inputs, None, "", "RUN x").unwrap();
        assert_eq!(cache.get(&key).unwrap().unwrap().layer, None);
        assert_eq!(fs::read_dir(&steps).unwrap().count(), 2, "no temporary file stays");
        let old = SystemTime::now() - Duration::from_secs(100);
        File::options().write(true).open(steps.join(key.as_str())).unwrap().set_modified(old).unwrap();
        assert!(cache.get(&key).unwrap().is_some());
        assert!(StepCache::open(&steps, Some(Duration::from_secs(200))).unwrap().get(&key).unwrap().is_some());
        assert!(StepCache::open(&steps, Some(Duration::from_secs(50))).unwrap().get(&key).unwrap().is_none());
        fs::write(steps.join(key.as_str()), "torn").unwrap();
        assert_eq!(cache.get(&key).unwrap(), None, "what can't be read is not there");
    }

    #[test]
    fn the_nearest_earlier_result_says_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StepCache::open(dir.path(), None).unwrap();
        let differences = |inputs: &Inputs, owner| cache.differences(inputs, owner, "RUN x").unwrap();
        assert_eq!(differences(&inputs("p", "A=1"), ""), None);
        for old in [inputs("q", "B=1"), inputs("p", "A=1")] {
            cache.put(&old.key(), &old, None, "", "RUN x").unwrap();
        }
        assert_eq!(differences(&inputs("p", "A=2"), ""), Some(vec!["the variable A".to_owned()]));
        assert_eq!(differences(&inputs("r", "A=1"), ""), Some(vec!["the layers below".to_owned()]));
        assert_eq!(differences(&inputs("p", "A=1"), ""), Some(vec![]));
        assert_eq!(differences(&inputs("p", "A=2"), "a stranger"), None, "others see nothing of it");
    }

    #[test]
    fn the_least_recently_used_go() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StepCache { files_max: 20, ..StepCache::open(dir.path(), None).unwrap() };
        let kept: Vec<Inputs> = (0..10).map(|n| inputs("p", &format!("A={n}"))).collect();
        let put = |one: &Inputs, text: &str| cache.put(&one.key(), one, None, "", text).unwrap();
        kept.iter().for_each(|one| drop(put(one, "RUN kept")));
        let long_ago = FileTimes::new().set_accessed(SystemTime::now() - Duration::from_secs(1_000));
        let age = |name: &Path| File::open(name).unwrap().set_times(long_ago).unwrap();
        fs::read_dir(dir.path()).unwrap().for_each(|entry| age(&entry.unwrap().path()));
        assert!(cache.get(&kept[3].key()).unwrap().is_some());
        let _claim = cache.claim(&kept[0].key(), &Cancel::default(), &mut || ()).unwrap();
        age(&dir.path().join(format!("{}.lock", kept[0].key().as_str())));
        for n in 0..6 {
            put(&inputs("q", &format!("A={n}")), &format!("RUN other {n}"));
        }
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert!((18..=20).contains(&left), "{left}");
        assert!(cache.get(&kept[3].key()).unwrap().is_some(), "what was used stays");
        let gone = kept.iter().filter(|one| cache.get(&one.key()).unwrap().is_none()).count();
        assert!(gone >= 3, "{gone}");
        assert!(dir.path().join(format!("{}.lock", kept[0].key().as_str())).exists(), "nobody's claim is taken");
    }
}
