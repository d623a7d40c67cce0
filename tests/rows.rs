//! Tables of cases, two at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Looks at every row of a table and fails with all problems that were found.
///
/// # Panics
/// When there are any.
#[track_caller]
pub fn assert_no_problems<Row: Sync>(rows: &[Row], look: impl Fn(usize, &Row) -> Vec<String> + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut problems = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = rows.get(number) else { return problems };
            problems.extend(look(number, row));
        }
    };
    let problems: Vec<String> = std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
