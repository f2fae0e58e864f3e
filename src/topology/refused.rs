//! Remembers for a while what a node refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After this time it is tried, or announced, again.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// What a node refused.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// Something is remembered about transactions. Healthy calls read only this.
    transactions: AtomicBool,
    transactions_at: Mutex<Option<Instant>>,
    rights_announced_at: Mutex<Option<Instant>>,
    /// Replicas of this server do not apply writes in their order: fences on them prove nothing.
    fences: AtomicBool,
}

impl Refused {
    /// Records that a read was refused because a transaction was put around it.
    pub(crate) fn refuse_transactions(&self, now: Instant) {
        *self.transactions_at.lock() = Some(now);
        self.transactions.store(true, Ordering::Relaxed);
    }

    /// Returns whether reads should be sent without a transaction.
    #[inline]
    pub(crate) fn transactions(&self, now: Instant) -> bool {
        self.transactions.load(Ordering::Relaxed) && self.still_refuses_transactions(now)
    }

    #[cold]
    fn still_refuses_transactions(&self, now: Instant) -> bool {
        let at = self.transactions_at.lock();
        let still = at.is_some_and(|at| now.saturating_duration_since(at) < REMEMBERED_FOR);
        self.transactions.store(still, Ordering::Relaxed);
        still
    }

    /// Records that fences prove nothing on replicas of a server of this kind.
    pub(crate) fn refuse_fences(&self) {
        self.fences.store(true, Ordering::Relaxed);
    }

    /// Returns whether fences prove nothing on replicas of a server of this kind.
    pub(crate) fn fences(&self) -> bool {
        self.fences.load(Ordering::Relaxed)
    }

    /// Returns whether an event about the user's missing rights on this node is due. From now on, it is not, for a while.
    pub(crate) fn may_announce_rights(&self, now: Instant) -> bool {
        let mut announced = self.rights_announced_at.lock();
        let is_due = announced.is_none_or(|at| now.saturating_duration_since(at) >= REMEMBERED_FOR);
        if is_due {
            *announced = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED_FOR, Refused};
    use std::time::Instant;

    #[test]
    fn what_a_node_refuses_is_forgotten_after_a_while() {
        let (refused, now) = (Refused::default(), Instant::now());
        assert!(!refused.transactions(now));
        refused.refuse_transactions(now);
        assert!(refused.transactions(now));
        assert!(!refused.transactions(now + REMEMBERED_FOR));
        assert!(refused.may_announce_rights(now));
        assert!(!refused.may_announce_rights(now));
        assert!(refused.may_announce_rights(now + REMEMBERED_FOR));
    }
}
