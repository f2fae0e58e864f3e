//! The worker that asks the provider.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::thread::spawn;
use crate::error::Result;
use crate::topology::{Wakeup, Woken};

/// However often rounds are requested, there is at most one in this time.
const BREATH: Duration = Duration::from_millis(50);

/// Starts the worker: it runs a round at once, and the next one after the time that `round` returns, or on request. It ends
/// when `round` returns `None`, and with the client.
pub(super) fn start(wakeup: Arc<Wakeup>, mut round: impl FnMut() -> Option<Duration> + Send + 'static) -> Result<()> {
    spawn("redis-topology", move || {
        let mut wait = Duration::ZERO;
        while wakeup.wait(wait) != Woken::Closed {
            let Some(next) = round() else { return };
            wait = next;
            sleep(BREATH);
        }
    })
}
