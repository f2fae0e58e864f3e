//! How late calls come back.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::{Error, ReplicatedClient, Result};

use crate::support::Sleepers;

/// How late a call may be in a test: other tests use the same processors. A bench has the strict figures.
pub const SLACK: Duration = Duration::from_millis(250);

/// How many calls are made, and when each has to be back.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    pub deadline: Duration,
    pub threads: usize,
    pub each: usize,
}

impl Calls {
    /// Five hundred, in two seconds if each takes all of its time.
    pub const MANY: Self = Self { deadline: Duration::from_millis(200), threads: 50, each: 10 };
    pub const FEW: Self = Self { deadline: Duration::from_millis(200), threads: 10, each: 5 };

    fn longest(self) -> Duration {
        (self.deadline + SLACK) * u32::try_from(self.each).unwrap()
    }
}

/// Makes the calls and checks that each is back in time; returns their errors.
///
/// A call that hangs for ever fails the test, too: its thread is left to itself.
pub fn assert_back_in_time(
    what: &str,
    calls: Calls,
    client: ReplicatedClient,
    call: impl Fn(&ReplicatedClient) -> Result<()> + Clone + Send + 'static,
) -> Vec<Option<Error>> {
    let errors = make_calls(what, calls, client, call);
    println!("{what}: all calls were back in time");
    errors
}

/// The same, with a new client whenever each thread has made one call: so that all calls meet the fault, and none only
/// waits because the node is ejected.
pub fn assert_each_back_in_time(
    what: &str,
    calls: Calls,
    client: impl Fn() -> ReplicatedClient,
    call: impl Fn(&ReplicatedClient) -> Result<()> + Clone + Send + 'static,
) -> Vec<Option<Error>> {
    let round = Calls { each: 1, ..calls };
    let errors: Vec<_> = (0..calls.each).flat_map(|_| make_calls(what, round, client(), call.clone())).collect();
    println!("{what}: all calls were back in time");
    errors
}

fn make_calls(
    what: &str,
    calls: Calls,
    client: ReplicatedClient,
    call: impl Fn(&ReplicatedClient) -> Result<()> + Clone + Send + 'static,
) -> Vec<Option<Error>> {
    let client = client.deadline(calls.deadline);
    let sleepers = Sleepers::start();
    let (sender, receiver) = mpsc::channel();
    let stagger = calls.deadline / u32::try_from(calls.threads).unwrap() / 2;
    for _ in 0..calls.threads {
        let (client, sender, call) = (client.clone(), sender.clone(), call.clone());
        thread::spawn(move || {
            for _ in 0..calls.each {
                let start = Instant::now();
                let error = call(&client).err();
                if sender.send((start.elapsed(), error)).is_err() {
                    return;
                }
            }
        });
        // Not all at once: they would all want the processors again when their deadline comes.
        thread::sleep(stagger);
    }
    drop(sender);
    let end = Instant::now() + calls.longest() + Duration::from_secs(30);
    let (mut errors, mut longest) = (Vec::new(), Duration::ZERO);
    while let Ok((took, error)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        longest = longest.max(took);
        errors.push(error);
    }
    let asleep = sleepers.finish();
    let late = longest.saturating_sub(calls.deadline);
    let count = calls.threads * calls.each;
    let back = errors.len();
    assert_eq!(back, count, "{what}: {back} of {count} calls are back, the latest of them {late:?} after its deadline");
    let said =
        format!("the latest of {count} calls was back {late:?} after its deadline, a thread that slept {asleep:?}");
    // A call has more to do than a thread that sleeps, and waits for a processor each time.
    assert!(late <= SLACK + 4 * asleep, "{what}: {said}");
    errors
}
