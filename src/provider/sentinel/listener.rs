//! Listens to a Sentinel's events, so that a failover is noticed when it happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{RedisResult, Value, cmd};

use super::single::Sentinel;
use crate::monitor::{guarded, spawn};
use crate::pool::SentinelConnection;
use crate::topology::RefreshTrigger;

/// The events after which the answers of this Sentinel are others. The first two come seconds before `+switch-master`,
/// which is published only when all replicas follow the new master.
const EVENTS: [&str; 10] = [
    "+promoted-slave",
    "+failover-state-reconf-slaves",
    "+switch-master",
    "+slave",
    "+convert-to-slave",
    "+reboot",
    "+odown",
    "-odown",
    "-sdown",
    "+failover-end",
];
/// How often the thread looks whether the client still lives.
const LISTENS_FOR: Duration = Duration::from_millis(500);
/// After this time without an event the Sentinel is called anew.
const SILENCE: Duration = Duration::from_secs(30);
/// The pause before a Sentinel that hung up is called again.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts a thread that listens to one Sentinel, and ends with it and with the client.
pub(super) fn start(sentinel: &Arc<Sentinel>, service: &str, trigger: RefreshTrigger, limit: Duration) {
    let (known, service) = (Arc::downgrade(sentinel), service.to_owned());
    let listen = move || {
        while let Some(sentinel) = known.upgrade().filter(|_| trigger.is_alive()) {
            // Whatever went wrong, the answer is the same; and the Sentinels are asked at intervals as well.
            let connected = guarded(Some(&sentinel.addr), || connect(&sentinel, limit));
            // Let go of: the thread ends with the Sentinel.
            drop(sentinel);
            let is_wanted = || trigger.is_alive() && known.strong_count() > 0;
            let _ =
                guarded(None, || connected?.ok().map(|connection| listen(connection, &service, &trigger, is_wanted)));
            std::thread::sleep(PAUSE);
        }
    };
    // Without this thread, the Sentinels are still asked at intervals and after errors.
    let _ = spawn("redis-sentinel", listen);
}

/// Subscribes to the events.
fn connect(sentinel: &Sentinel, limit: Duration) -> RedisResult<SentinelConnection> {
    let mut connection = sentinel.connect(Instant::now() + limit)?;
    let subscribe = cmd("SUBSCRIBE").arg(&EVENTS[..]).get_packed_command();
    connection.ask(&subscribe, 0, Instant::now() + limit)?;
    Ok(connection)
}

fn listen(
    mut connection: SentinelConnection,
    service: &str,
    trigger: &RefreshTrigger,
    is_wanted: impl Fn() -> bool,
) -> RedisResult<()> {
    // What happened before the connection listened is asked for.
    trigger.fire();
    let mut heard = Instant::now();
    // A connection that was lost without a word is as silent as a Sentinel to which nothing happens.
    while is_wanted() && heard.elapsed() < SILENCE {
        match connection.listen(Instant::now() + LISTENS_FOR) {
            Ok(event) => {
                heard = Instant::now();
                if payload(&event.extract_error()?).is_some_and(|text| text.split(' ').any(|word| word == service)) {
                    trigger.fire();
                }
            }
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The text of an event: the last part of a message, which is pushed in RESP3.
fn payload(event: &Value) -> Option<&str> {
    let parts = match event {
        Value::Array(parts) | Value::Push { data: parts, .. } => parts,
        _ => return None,
    };
    match parts.last()? {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}
