//! Fetches of images that are under way: one of each at a time, however many ask for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use drydock::explain;

use crate::error::Error;

/// What a fetch came to, for those who waited for it.
type Fetch = Arc<OnceLock<Result<(), String>>>;

#[derive(Debug, Default)]
pub(crate) struct Fetches {
    under_way: Mutex<HashMap<String, Fetch>>,
}

impl Fetches {
    /// Fetches the image of that digest. Whoever asks for it meanwhile waits, and gets what this comes to: if each of them fetched a copy of
    /// his own, as many as want to could fill the disk, and if each tried again after a failure, the last would wait for all before him.
    pub(crate) fn one(&self, digest: &str, fetch: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let under_way = || self.under_way.lock().expect("no panic while it is held");
        let one = Arc::clone(under_way().entry(digest.to_owned()).or_default());
        let mut own = None;
        let came_to = one.get_or_init(|| {
            let fetched = fetch();
            // Who comes from now on looks for himself.
            under_way().remove(digest);
            fetched.map_err(|error| explain(own.insert(error)))
        });
        match (own, came_to) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(()),
            (None, Err(why)) => Err(Error::NotFetched { digest: digest.to_owned(), why: why.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    const ASKING: usize = 8;

    /// Asks for one image from many threads at once; what fetches it waits until all of them have asked.
    fn ask(fetches: &Fetches, fetch: impl Fn() -> Result<(), Error> + Sync) -> Vec<Result<(), Error>> {
        let waits = || {
            let end = Instant::now() + Duration::from_secs(60);
            let asked = |one: &Fetch| Arc::strong_count(one) == ASKING + 1;
            while !fetches.under_way.lock().unwrap().get("a").is_some_and(asked) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            fetch()
        };
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..ASKING).map(|_| scope.spawn(|| fetches.one("a", waits))).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        })
    }

    #[test]
    fn who_asks_meanwhile_gets_what_it_came_to() {
        let (fetches, fetched) = (Fetches::default(), AtomicU32::new(0));
        let answers = ask(&fetches, || {
            fetched.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(fetched.load(Ordering::Relaxed), 1);

        let answers = ask(&fetches, || {
            fetched.fetch_add(1, Ordering::Relaxed);
            Err(Error::ImageGone { digest: "a".to_owned() })
        });
        assert_eq!(fetched.load(Ordering::Relaxed), 2, "what was fetched before says nothing about now");
        let own = answers.iter().filter(|answer| matches!(answer, Err(Error::ImageGone { .. })));
        assert_eq!(own.count(), 1);
        let told = answers.iter().filter(
            |answer| matches!(answer, Err(Error::NotFetched { why, .. }) if why.contains("is not among the objects")),
        );
        assert_eq!(told.count(), ASKING - 1);
        assert!(fetches.under_way.lock().unwrap().is_empty());
    }

    #[test]
    fn other_images_and_a_panic_keep_nobody_waiting() {
        let fetches = Fetches::default();
        fetches.one("a", || fetches.one("b", || Ok(()))).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| fetches.one("a", || panic!("a bug")))).is_err());
        fetches.one("a", || Ok(())).unwrap();
    }
}
