//! The retry budget: how many attempts beyond the first the calls of a client may make, so that retries never add much load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Retries earned by each call that was answered.
const PER_REQUEST: f64 = 0.2;
/// Retries earned in each second.
const PER_SECOND: f64 = 10.0;
/// Retries that are not used within this time expire.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// The retries of a new client.
const AT_FIRST: f64 = 10.0;

/// The retries that the reads of a client may make: 20 % of the answered calls plus 10 a second, saved for 10 s.
///
/// What was earned is computed when a retry is withdrawn, from the count of answers that the nodes keep: a call without retries
/// never takes the lock.
#[derive(Debug)]
pub(crate) struct Budget {
    balance: Mutex<Balance>,
    retries: AtomicU64,
    denied: AtomicU64,
}

/// What calls did after failed attempts, since the client was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct RetryCounts {
    /// Failed attempts after which the call went on. The budget grants those of reads, and not those of writes.
    pub(crate) retries: u64,
    /// How often the budget was empty, so that a read had to pause.
    pub(crate) denied: u64,
}

#[derive(Debug)]
struct Balance {
    attempts: f64,
    /// The number of answers in the last 10 s, roughly.
    recent: f64,
    /// The number of answers at the last deposit, and when that was.
    answered: u64,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        let balance = Balance { attempts: AT_FIRST, recent: 0.0, answered: 0, at: now };
        Self { balance: Mutex::new(balance), retries: AtomicU64::new(0), denied: AtomicU64::new(0) }
    }

    /// Takes one attempt from the budget, and returns whether there was one. `answered` counts all answers so far.
    pub(crate) fn withdraw(&self, answered: impl FnOnce() -> u64, now: Instant) -> bool {
        let mut balance = self.balance.lock();
        // Counted under the lock: an older count that came in after a newer one would be deposited twice.
        balance.deposit(answered(), now);
        let granted = balance.attempts >= 1.0;
        if granted {
            balance.attempts -= 1.0;
        } else {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        granted
    }

    /// Counts a failed attempt after which the call goes on, whether that costs a part of the budget or not.
    pub(crate) fn record_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> RetryCounts {
        RetryCounts { retries: self.retries.load(Ordering::Relaxed), denied: self.denied.load(Ordering::Relaxed) }
    }
}

impl Balance {
    fn deposit(&mut self, answered: u64, now: Instant) {
        // The count drops when a node leaves the set; another thread may have read the clock later.
        let answers = answered.saturating_sub(self.answered) as f64;
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.answered = answered;
        self.at = self.at.max(now);
        let kept_for = KEPT_FOR.as_secs_f64();
        // Of a longer time, only the last 10 s count.
        let part = if passed > kept_for { kept_for / passed } else { 1.0 };
        self.recent = self.recent * (1.0 - passed / kept_for).max(0.0) + answers * part;
        let most = PER_SECOND * kept_for + PER_REQUEST * self.recent;
        let gained = (PER_SECOND * passed + PER_REQUEST * answers) * part;
        self.attempts = (self.attempts + gained).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    fn granted(budget: &Budget, answered: u64, now: Instant) -> u32 {
        (0..).take_while(|_| budget.withdraw(|| answered, now)).count() as u32
    }

    #[test]
    fn a_fifth_of_the_answers_and_ten_a_second() {
        let start = Instant::now();
        let budget = Budget::new(start);
        assert_eq!(granted(&budget, 0, start), 10, "at first");
        assert_eq!(granted(&budget, 1000, start), 200);
        assert_eq!(granted(&budget, 1000, start + Duration::from_secs(2)), 20);
        assert_eq!(granted(&budget, 1000, start + Duration::from_secs(2)), 0);
        assert_eq!(granted(&budget, 500, start + Duration::from_secs(2)), 0, "a node left");
        assert_eq!(budget.counts().denied, 5, "each time it was empty");
    }

    #[test]
    fn what_is_not_used_is_lost_after_ten_seconds() {
        let start = Instant::now();
        let budget = Budget::new(start);
        assert_eq!(granted(&budget, 0, start + Duration::from_secs(3600)), 100);
        let budget = Budget::new(start);
        let after = granted(&budget, 360_000, start + Duration::from_secs(3600));
        assert!((100..=301).contains(&after), "{after}: 100 answers a second");
    }

    #[test]
    fn it_is_never_overdrawn() {
        let start = Instant::now();
        let budget = Budget::new(start);
        let (answered, granted) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        answered.fetch_add(1, Ordering::SeqCst);
                        if budget.withdraw(|| answered.load(Ordering::SeqCst), start) {
                            granted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let granted = granted.load(Ordering::SeqCst);
        assert!((10..=32_010).contains(&granted), "{granted} of 160 000");
    }
}
