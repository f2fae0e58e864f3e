//! Hears a Sentinel's events, so that a failover is noticed when it happens.

use std::time::{Duration, Instant};

use redis::{Client, ConnectionInfo, RedisResult};

use super::super::description::RefreshTrigger;
use super::super::thread::{guarded, spawn};

/// The events after which the answers of this Sentinel are others. The first two come seconds before `+switch-master`,
/// which is published only when all replicas follow the new master.
const EVENTS: [&str; 9] = [
    "+promoted-slave",
    "+failover-state-reconf-slaves",
    "+switch-master",
    "+slave",
    "+convert-to-slave",
    "+reboot",
    "+odown",
    "-odown",
    "+failover-end",
];
/// How often the thread looks whether the client still lives.
const GLANCE: Duration = Duration::from_millis(500);
/// After this time without an event the Sentinel is called anew.
const SILENCE: Duration = Duration::from_secs(30);
/// The pause before a Sentinel that hung up is called again.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts a thread that listens to one Sentinel, and ends with the client.
pub(super) fn start(info: ConnectionInfo, service: &str, trigger: RefreshTrigger, limit: Duration) {
    let service = service.to_owned();
    let listen = move || {
        while trigger.is_alive() {
            // Whatever went wrong, the answer is the same; and the Sentinels are asked at intervals as well.
            let _ = guarded(None, || listen(&info, &service, &trigger, limit));
            std::thread::sleep(PAUSE);
        }
    };
    // Without this thread, the Sentinels are still asked at intervals and after errors.
    let _ = spawn("redis-sentinel", listen);
}

fn listen(info: &ConnectionInfo, service: &str, trigger: &RefreshTrigger, limit: Duration) -> RedisResult<()> {
    let mut connection = Client::open(info.clone())?.get_connection_with_timeout(limit)?;
    connection.set_read_timeout(Some(GLANCE))?;
    connection.set_write_timeout(Some(limit))?;
    let mut events = connection.as_pubsub();
    events.subscribe(&EVENTS[..])?;
    // What happened while nobody listened is asked for.
    trigger.fire();
    let mut heard = Instant::now();
    // A connection that was lost without a word is as silent as a Sentinel to which nothing happens.
    while trigger.is_alive() && heard.elapsed() < SILENCE {
        match events.get_message() {
            Ok(message) => {
                heard = Instant::now();
                let text: String = message.get_payload()?;
                if text.split(' ').any(|word| word == service) {
                    trigger.fire();
                }
            }
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
