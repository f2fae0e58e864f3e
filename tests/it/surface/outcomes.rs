//! How calls are told that do not end on the straight way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_replicated::observe::{Event, Interest, Observer};
use redis_replicated::{Classification, ErrorKind, ReplicatedClient};

use crate::support::{addrs, set_with_key, wait_until_set_is};

/// Keeps what is told of calls and attempts.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        let shown = |kind: Option<ErrorKind>| kind.map_or_else(|| "ok".to_owned(), |kind| kind.to_string());
        let line = match event {
            Event::Call(call) => {
                format!("call {} {} {}", call.operation(), shown(call.error_kind()), call.code().unwrap_or("-"))
            }
            Event::Attempt(attempt) => {
                let kind = shown(attempt.error().map(redis_replicated::Error::kind));
                format!("attempt {} {kind}{}", attempt.operation(), if attempt.is_last() { " last" } else { "" })
            }
            _ => return,
        };
        assert!(!format!("{event:?}{line}").contains("secret"), "{event:?} {line}");
        self.0.lock().unwrap().push(line);
    }

    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::ATTEMPTS
    }
}

fn told_by(servers: &redis_replicated::testing::ReplicaSet) -> (ReplicatedClient, Arc<Told>) {
    let told = Arc::new(Told::default());
    let builder = servers.client_builder().classify("PSETEX", Classification::Read).observer(Arc::clone(&told));
    let client = builder.build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    (client, told)
}

#[test]
fn an_error_inside_a_transaction_is_told() {
    let servers = set_with_key(0);
    let (client, told) = told_by(&servers);
    let mut pipeline = redis::pipe();
    pipeline.atomic().set("n", 1).lpush("k", 1);
    assert_eq!(client.query_pipeline::<()>(&pipeline).unwrap_err().kind(), ErrorKind::Server);
    assert_eq!(told.take(), ["attempt MULTI ok last", "call MULTI server WRONGTYPE"]);
}

#[test]
fn a_read_that_is_a_write_goes_on_at_the_master() {
    let servers = set_with_key(2);
    let (client, told) = told_by(&servers);
    client.query::<()>(redis::cmd("PSETEX").arg("t").arg(60_000).arg("v")).unwrap();
    let told = told.take();
    assert_eq!(told, ["attempt PSETEX server", "attempt PSETEX ok last", "call PSETEX ok -"]);
}

#[test]
fn a_pinned_call_that_gets_no_connection_is_told() {
    let mut servers = set_with_key(0);
    let (client, told) = told_by(&servers);
    servers.master_mut().stop();
    let mut connection = client.deadline(Duration::from_millis(300)).connection();
    redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap_err();
    let told = told.take();
    assert!(told.len() == 1 && told[0].starts_with("call WATCH "), "{told:?}");
}

#[test]
fn a_code_that_a_script_makes_of_a_key_is_not_shown() {
    let servers = set_with_key(0);
    let (client, told) = told_by(&servers);
    let script = "return redis.error_reply(KEYS[1])";
    client.query::<()>(redis::cmd("EVAL").arg(script).arg(1).arg("secret")).unwrap_err();
    client.query::<()>(redis::cmd("EVAL").arg(script).arg(1).arg("secret two")).unwrap_err();
    assert_eq!(told.take().len(), 4);
}
