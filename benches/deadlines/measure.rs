//! How late calls are back.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::{ReplicatedClient, Result};

/// How late nearly all calls may be, and how many those are.
const LATE: Duration = Duration::from_millis(20);
const SHARE: f64 = 0.999;
/// How late any call may be.
const LATEST: Duration = Duration::from_millis(100);
/// A call that is this late does not come back at all: nobody waits for it any longer.
const LOST: Duration = Duration::from_secs(5);

/// How many calls are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scale {
    Full,
    Quick,
}

impl Scale {
    fn calls(self) -> usize {
        match self {
            Self::Full => 10_000,
            Self::Quick => 1000,
        }
    }
}

/// Makes one call.
pub(super) type Call = dyn Fn(&ReplicatedClient) -> Result<()> + Send + Sync;

/// What calls meet, and how they are made.
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) threads: usize,
    pub(super) deadline: Duration,
    /// How many calls each thread makes with one client: a node that is ejected is not called any more.
    pub(super) calls_per_client: usize,
    /// Makes a client; gets the number of those before it.
    pub(super) client: Box<dyn Fn(usize) -> ReplicatedClient>,
    pub(super) call: Arc<Call>,
}

/// How late the calls were.
pub(super) struct Measured {
    name: &'static str,
    calls: usize,
    failed: usize,
    late: usize,
    latest: Duration,
    lost: usize,
    /// How late a thread woke up at worst that did nothing but sleep meanwhile: the machine's own part.
    asleep: Duration,
}

/// Whether what was measured is what has to hold.
pub(super) struct Verdict(bool);

impl Fault {
    /// Makes the calls and prints how late they were.
    pub(super) fn measure(self, scale: Scale) -> Verdict {
        let mut measured = Measured {
            name: self.name,
            calls: 0,
            failed: 0,
            late: 0,
            latest: Duration::ZERO,
            lost: 0,
            asleep: Duration::ZERO,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let sleeper = sleep(Arc::clone(&stop));
        for number in 0.. {
            if measured.calls >= scale.calls() || measured.lost > 0 {
                break;
            }
            self.make_calls(&(self.client)(number).deadline(self.deadline), &mut measured);
        }
        stop.store(true, Ordering::SeqCst);
        measured.asleep = sleeper.join().unwrap();
        measured.print();
        Verdict(measured.holds())
    }

    /// Has each thread call as often as it may with one client.
    fn make_calls(&self, client: &ReplicatedClient, measured: &mut Measured) {
        let (sender, receiver) = mpsc::channel();
        // Not all at once: they would all want the processors again when their deadline comes.
        let stagger = self.deadline / u32::try_from(self.threads).unwrap() / 2;
        for _ in 0..self.threads {
            let (client, call, sender) = (client.clone(), Arc::clone(&self.call), sender.clone());
            let count = self.calls_per_client;
            thread::spawn(move || {
                for _ in 0..count {
                    let start = Instant::now();
                    let has_failed = call(&client).is_err();
                    if sender.send((start.elapsed(), has_failed)).is_err() {
                        return;
                    }
                }
            });
            thread::sleep(stagger);
        }
        drop(sender);
        let expected = self.threads * self.calls_per_client;
        let mut back = 0;
        while let Ok((took, has_failed)) = receiver.recv_timeout(self.deadline + LOST) {
            let late = took.saturating_sub(self.deadline);
            back += 1;
            measured.failed += usize::from(has_failed);
            measured.late += usize::from(late > LATE);
            measured.latest = measured.latest.max(late);
        }
        measured.calls += expected;
        measured.lost += expected - back;
    }
}

impl Measured {
    fn share_in_time(&self) -> f64 {
        1.0 - (self.late + self.lost) as f64 / self.calls as f64
    }

    fn holds(&self) -> bool {
        self.lost == 0 && self.share_in_time() >= SHARE && self.latest <= LATEST
    }

    fn print(&self) {
        let Self { name, calls, failed, latest, lost, asleep, .. } = self;
        let share = 100.0 * self.share_in_time();
        let lost = if *lost > 0 { format!(", {lost} never back") } else { String::new() };
        let verdict = if self.holds() { "holds" } else { "FAILS" };
        println!(
            "  {name:<20} {calls:>6} calls, {failed} failed, {share:.2} % back by + {LATE:?}, latest + {latest:.1?} (a sleeping thread + {asleep:.1?}){lost}: {verdict}"
        );
    }
}

/// Sleeps again and again until it is stopped; returns how late it woke up at worst.
fn sleep(stop: Arc<AtomicBool>) -> thread::JoinHandle<Duration> {
    thread::spawn(move || {
        let (mut latest, time) = (Duration::ZERO, Duration::from_millis(5));
        while !stop.load(Ordering::SeqCst) {
            let start = Instant::now();
            thread::sleep(time);
            latest = latest.max(start.elapsed().saturating_sub(time));
        }
        latest
    })
}

impl Verdict {
    pub(super) fn holds(&self) -> bool {
        self.0
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        if verdict.0 { Self::SUCCESS } else { Self::FAILURE }
    }
}
