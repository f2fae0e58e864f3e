//! Threads that read and write, and what became of their calls.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::{ReplicatedClient, Result};

use crate::support::wait_until;

/// Which of the calls of a thread writes.
const ONE_IN: usize = 10;

/// What became of the calls so far.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    stop: AtomicBool,
    writes_too: bool,
    pub(super) reads: AtomicUsize,
    pub(super) writes: AtomicUsize,
    failed_reads: AtomicUsize,
    failed_writes: AtomicUsize,
    /// The first of each kind.
    errors: Mutex<Vec<String>>,
    /// A picture of the set as it was when a node was ejected.
    ejected: Mutex<Option<String>>,
}

impl Traffic {
    /// Reads `k` and writes on so many threads while `act` runs. Returns what became of the calls.
    pub(super) fn run(client: &ReplicatedClient, threads: usize, act: impl FnOnce(&Self)) -> Self {
        Self::run_calls(client, threads, Some(ONE_IN), act)
    }

    /// The same without writes.
    pub(super) fn run_reads(client: &ReplicatedClient, threads: usize, act: impl FnOnce(&Self)) -> Self {
        Self::run_calls(client, threads, None, act)
    }

    fn run_calls(
        client: &ReplicatedClient,
        threads: usize,
        one_write_in: Option<usize>,
        act: impl FnOnce(&Self),
    ) -> Self {
        /// Also when `act` panics: the scope would wait for ever.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let traffic = Self { writes_too: one_write_in.is_some(), ..Self::default() };
        thread::scope(|scope| {
            let _stop = Stop(&traffic.stop);
            (0..threads).for_each(|_| _ = scope.spawn(|| traffic.call(client, one_write_in)));
            scope.spawn(|| traffic.watch(client));
            act(&traffic);
        });
        traffic
    }

    /// Waits until so many more reads, and a twentieth of it of writes if there are any, have succeeded, or something has
    /// failed.
    pub(super) fn flow(&self, reads: usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let least = if self.writes_too { reads / 20 } else { 0 };
        let (read, written) = (of(&self.reads) + reads, of(&self.writes) + least);
        wait_until("calls flow", || self.failures() > 0 || (of(&self.reads) >= read && of(&self.writes) >= written));
    }

    /// Returns how many calls have failed.
    pub(super) fn failures(&self) -> usize {
        self.failed_reads.load(Ordering::SeqCst) + self.failed_writes.load(Ordering::SeqCst)
    }

    /// Checks that no call has failed and no node was ejected.
    pub(super) fn assert_untroubled(&self, what: &str) {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let (failed_reads, failed_writes) = (of(&self.failed_reads), of(&self.failed_writes));
        let reads = of(&self.reads) + failed_reads;
        let writes = of(&self.writes) + failed_writes;
        let said = format!(
            "{what}: {failed_reads} of {reads} reads and {failed_writes} of {writes} writes failed, first {:?}",
            self.errors.lock().unwrap()
        );
        println!("{said}");
        assert!(failed_reads + failed_writes == 0, "{said}");
        let ejected = self.ejected.lock().unwrap();
        assert!(ejected.is_none(), "{what}: a node was ejected:\n{}", ejected.as_deref().unwrap_or_default());
    }

    fn call(&self, client: &ReplicatedClient, one_write_in: Option<usize>) {
        for turn in 1_usize.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            if one_write_in.is_some_and(|one_in| turn.is_multiple_of(one_in)) {
                self.record(client.set("written", turn), &self.writes, &self.failed_writes);
            } else {
                self.record(client.get::<String>("k"), &self.reads, &self.failed_reads);
            }
        }
    }

    fn record<T>(&self, result: Result<T>, succeeded: &AtomicUsize, failed: &AtomicUsize) {
        match result {
            Ok(_) => _ = succeeded.fetch_add(1, Ordering::SeqCst),
            Err(error) => {
                failed.fetch_add(1, Ordering::SeqCst);
                let mut errors = self.errors.lock().unwrap();
                let error = format!("{:?}: {error}", error.kind());
                if errors.len() < 5 && !errors.contains(&error) {
                    errors.push(error);
                }
            }
        }
    }

    fn watch(&self, client: &ReplicatedClient) {
        while !self.stop.load(Ordering::SeqCst) {
            let snapshot = client.snapshot();
            if snapshot.nodes.iter().any(|node| node.ejected) {
                self.ejected.lock().unwrap().get_or_insert_with(|| snapshot.to_string());
            }
            // Looks again and again as long as the calls run.
            thread::sleep(Duration::from_millis(2));
        }
    }
}
