//! Where the time of a call went.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::observe::{Event, Interest, Observer, Timing};

use crate::support::{set_with_key, wait_until};

/// Keeps the longest time of each part of a call.
#[derive(Debug, Default)]
struct Longest(Mutex<Timing>);

impl Observer for Longest {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Call(call) = event {
            let (mut longest, timing) = (self.0.lock().unwrap(), call.timing());
            longest.waiting = longest.waiting.max(timing.waiting);
            longest.connecting = longest.connecting.max(timing.connecting);
            longest.sending = longest.sending.max(timing.sending);
            longest.replying = longest.replying.max(timing.replying);
            longest.pausing = longest.pausing.max(timing.pausing);
        }
    }

    fn interest(&self) -> Interest {
        Interest::CALLS
    }
}

#[test]
fn each_part_of_the_time_of_a_call_is_told() {
    let servers = set_with_key(0);
    let longest = Arc::new(Longest::default());
    let builder = servers.client_builder().pool_size(1).shared_connections(0).monitor_interval(Duration::ZERO);
    let client = builder.observer(Arc::clone(&longest)).build().unwrap();
    let part = |of: fn(&Timing) -> Duration| of(&longest.0.lock().unwrap());
    client.set("k", "v").unwrap();
    assert!(!part(|timing| timing.connecting).is_zero() && !part(|timing| timing.replying).is_zero());
    assert!(part(|timing| timing.sending).is_zero());
    client.set("long", "v".repeat(8 << 20)).unwrap();
    assert!(!part(|timing| timing.sending).is_zero());
    // The only connection is in use for a while.
    let before = part(|timing| timing.waiting);
    let mut pinned = client.connection();
    redis::cmd("WATCH").arg("k").exec(&mut pinned).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| client.get::<String>("k").unwrap());
        wait_until("the other call waits", || client.snapshot().nodes[0].connection_waiters == 1);
        // Slots are made by a thread that may be late: the first call may have waited as well.
        let since = Instant::now();
        wait_until("it waits for longer than any call before", || since.elapsed() > before);
        drop(pinned);
    });
    assert!(part(|timing| timing.waiting) > before);
    // Nobody serves for a while.
    let before = part(|timing| timing.pausing);
    let mut servers = servers;
    servers.master_mut().stop();
    client.deadline(Duration::from_millis(300)).get::<String>("k").unwrap_err();
    assert!(part(|timing| timing.pausing) > before);
}
