//! How late calls come back.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::{Error, ReplicatedClient, Result};

/// How late a call may be in a test: other tests use the same processors. A bench has the strict figures.
pub(super) const SLACK: Duration = Duration::from_millis(250);

/// How many calls are made, and when each has to be back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    pub(super) deadline: Duration,
    pub(super) threads: usize,
    pub(super) each: usize,
}

impl Calls {
    /// Five hundred, in two seconds if each takes all of its time.
    pub(super) const MANY: Self = Self { deadline: Duration::from_millis(200), threads: 50, each: 10 };
    pub(super) const FEW: Self = Self { deadline: Duration::from_millis(200), threads: 10, each: 5 };

    fn longest(self) -> Duration {
        (self.deadline + SLACK) * u32::try_from(self.each).unwrap()
    }
}

/// Makes the calls and checks that each is back in time; returns their errors.
///
/// A call that hangs for ever fails the test, too: its thread is left to itself.
pub(super) fn assert_back_in_time(
    what: &str,
    calls: Calls,
    client: ReplicatedClient,
    call: fn(&ReplicatedClient) -> Result<()>,
) -> Vec<Option<Error>> {
    let errors = make_calls(what, calls, client, call);
    println!("{what}: all calls were back in time");
    errors
}

/// The same, with a new client whenever each thread has made one call: so that all calls meet the fault, and none only
/// waits because the node is ejected.
pub(super) fn assert_each_back_in_time(
    what: &str,
    calls: Calls,
    client: impl Fn() -> ReplicatedClient,
    call: fn(&ReplicatedClient) -> Result<()>,
) -> Vec<Option<Error>> {
    let round = Calls { each: 1, ..calls };
    let errors: Vec<_> = (0..calls.each).flat_map(|_| make_calls(what, round, client(), call)).collect();
    println!("{what}: all calls were back in time");
    errors
}

fn make_calls(
    what: &str,
    calls: Calls,
    client: ReplicatedClient,
    call: fn(&ReplicatedClient) -> Result<()>,
) -> Vec<Option<Error>> {
    let client = client.deadline(calls.deadline);
    let (sender, receiver) = mpsc::channel();
    for _ in 0..calls.threads {
        let (client, sender) = (client.clone(), sender.clone());
        thread::spawn(move || {
            for _ in 0..calls.each {
                let start = Instant::now();
                let error = call(&client).err();
                if sender.send((start.elapsed(), error)).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let end = Instant::now() + calls.longest() + Duration::from_secs(1);
    let (mut errors, mut longest) = (Vec::new(), Duration::ZERO);
    while let Ok((took, error)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        longest = longest.max(took);
        errors.push(error);
    }
    let late = longest.saturating_sub(calls.deadline);
    let count = calls.threads * calls.each;
    let back = errors.len();
    assert_eq!(back, count, "{what}: {back} of {count} calls are back, the latest of them {late:?} after its deadline");
    assert!(late <= SLACK, "{what}: the latest of {count} calls was back {late:?} after its deadline");
    errors
}
