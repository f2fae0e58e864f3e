//! Counters: what is acknowledged was applied, once; what is in doubt, at most once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::failure::Failure;

/// A number that only grows, by one at a time.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) key: String,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    in_doubt: AtomicU64,
}

impl Counter {
    pub(super) fn new(key: String) -> Self {
        Self { key, sent: AtomicU64::new(0), acknowledged: AtomicU64::new(0), in_doubt: AtomicU64::new(0) }
    }

    /// Somebody is about to raise it.
    pub(super) fn send(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    /// Records what became of it.
    pub(super) fn ended<T>(&self, raised: &Result<T, Failure>) {
        match raised {
            Ok(_) => _ = self.acknowledged.fetch_add(1, Ordering::SeqCst),
            Err(failure) if failure.in_doubt => _ = self.in_doubt.fetch_add(1, Ordering::SeqCst),
            Err(_) => {}
        }
    }

    /// Checks a value that was read, or that was the reply to a raise.
    pub(super) fn check(&self, value: u64) -> Result<(), String> {
        let sent = self.sent.load(Ordering::SeqCst);
        if value <= sent { Ok(()) } else { Err(format!("{} is {value}, and was raised {sent} times", self.key)) }
    }

    /// Checks the value on the master while nobody raises it.
    pub(super) fn check_at_rest(&self, value: u64) -> Result<(), String> {
        let (acknowledged, in_doubt) = self.raises();
        if (acknowledged..=acknowledged + in_doubt).contains(&value) {
            return Ok(());
        }
        Err(format!("{} is {value}; {acknowledged} raises were acknowledged, {in_doubt} are in doubt", self.key))
    }

    /// Returns how many raises were acknowledged, and how many are in doubt.
    pub(super) fn raises(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::SeqCst), self.in_doubt.load(Ordering::SeqCst))
    }
}
