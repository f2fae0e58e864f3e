//! Everything at once: random deadlines and sizes, connections that are killed, servers that stand still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{Error, ErrorKind, ReadFrom, ReplicatedClient};

use super::{Crowd, LONG, Lateness, clients, kill};
use crate::support::wait_until;

const CALLERS: usize = 64;
const TIME: Duration = Duration::from_secs(6);

/// One caller: the numbers of its writes, and of what became of those of its counter.
#[derive(Default)]
struct Caller {
    written: AtomicU64,
    acknowledged: AtomicU64,
    in_doubt: AtomicU64,
}

/// Returns a value that names its key and its number, and is as long as that number says.
fn value(caller: usize, number: u64) -> String {
    let size = match number % 16 {
        0 => 100 << 10,
        1..=3 => 10 << 10,
        other => other as usize,
    };
    let head = format!("own:{caller}:{number}:");
    let padding = size.saturating_sub(head.len());
    let letter = char::from(b'a' + (caller % 26) as u8);
    head + &letter.to_string().repeat(padding)
}

impl Caller {
    /// `session`: with the same options, and it has to read what it wrote.
    fn call(&self, (client, session): (&ReplicatedClient, &ReplicatedClient), caller: usize, lateness: &Lateness) {
        let mut rng = rand::rng();
        let deadline = match rng.random_range(0..4) {
            0 => Duration::from_micros(rng.random_range(1000..5000)),
            1 => Duration::from_millis(rng.random_range(5..100)),
            _ => Duration::from_millis(rng.random_range(100..1000)),
        };
        let (client, session) = (client.deadline(deadline), session.deadline(deadline));
        let start = Instant::now();
        let error = match rng.random_range(0..12) {
            0 | 1 => self.set(&client, caller),
            2 | 3 => self.count(&session, caller),
            4 | 5 => self.counted(&session, caller),
            _ => self.get(&client, caller),
        };
        lateness.record(start, deadline);
        if let Some(error) = error {
            let expected = [ErrorKind::Interrupted, ErrorKind::Checkout, ErrorKind::Unavailable];
            assert!(expected.contains(&error.kind()), "{error}");
        }
    }

    fn set(&self, client: &ReplicatedClient, caller: usize) -> Option<Error> {
        let number = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        client.set(super::own(caller), value(caller, number)).err()
    }

    fn get(&self, client: &ReplicatedClient, caller: usize) -> Option<Error> {
        match client.get::<Option<String>>(super::own(caller)) {
            Ok(None) => None,
            Ok(Some(read)) => {
                let number: u64 = read.split(':').nth(2).and_then(|number| number.parse().ok()).unwrap_or(0);
                assert!(number <= self.written.load(Ordering::SeqCst), "a number that was never written: {number}");
                assert!(read == value(caller, number), "caller {caller}: another value of {} bytes", read.len());
                None
            }
            Err(error) => Some(error),
        }
    }

    fn counted(&self, session: &ReplicatedClient, caller: usize) -> Option<Error> {
        match session.get::<Option<u64>>(format!("n:{caller}")) {
            Ok(counted) => {
                self.check(counted.unwrap_or(0), caller);
                None
            }
            Err(error) => Some(error),
        }
    }

    /// Fails if a counter shows that a write was lost, or executed twice.
    fn check(&self, counted: u64, caller: usize) -> u64 {
        let [acknowledged, in_doubt] = [&self.acknowledged, &self.in_doubt].map(|count| count.load(Ordering::SeqCst));
        let range = acknowledged..=acknowledged + in_doubt;
        assert!(range.contains(&counted), "caller {caller}: {counted} is not in {range:?}");
        acknowledged
    }

    fn count(&self, client: &ReplicatedClient, caller: usize) -> Option<Error> {
        match client.incr(format!("n:{caller}")) {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                None
            }
            Err(error) => {
                self.in_doubt.fetch_add(u64::from(error.may_have_executed()), Ordering::SeqCst);
                Some(error)
            }
        }
    }
}

fn trouble(servers: &ReplicaSet) {
    let mut rng = StdRng::seed_from_u64(7);
    let start = Instant::now();
    while start.elapsed() < TIME {
        thread::sleep(Duration::from_millis(rng.random_range(10..150)));
        let server = &servers.servers()[rng.random_range(0..servers.servers().len())];
        match rng.random_range(0..4) {
            0 => {
                server.pause().unwrap();
                thread::sleep(Duration::from_millis(rng.random_range(1..150)));
                server.resume().unwrap();
            }
            1 => server.pause_writes(Duration::from_millis(rng.random_range(1..100))).unwrap(),
            _ => kill(server, &clients(server).into_keys().collect::<Vec<_>>()),
        }
    }
}

#[test]
fn every_caller_gets_its_own_replies_in_time_whatever_happens() {
    let servers = ReplicaSet::start(1).unwrap();
    let client = servers.client_builder().read_from(ReadFrom::Any).deadline(LONG).build().unwrap();
    let callers: Vec<Caller> = (0..CALLERS).map(|_| Caller::default()).collect();
    let sessions: Vec<ReplicatedClient> = (0..CALLERS).map(|_| client.session()).collect();
    let lateness = Lateness::start();
    let ((), failed, _) = Crowd::run(
        CALLERS,
        |caller| {
            callers[caller].call((&client, &sessions[caller]), caller, &lateness);
            Ok(())
        },
        |_| {
            let shares = |server: &Server| super::shared(&client, &server.addr()) > 0;
            servers.servers().iter().for_each(|server| wait_until("calls share", || shares(server)));
            trouble(&servers);
        },
    );
    assert!(failed.is_empty());
    let mut connection = servers.master().connection().unwrap();
    let mut all = 0;
    for (number, caller) in callers.iter().enumerate() {
        let counted: Option<u64> = redis::cmd("GET").arg(format!("n:{number}")).query(&mut connection).unwrap();
        all += caller.check(counted.unwrap_or(0), number);
    }
    println!("{all} writes were acknowledged");
    assert!(all > 0);
    lateness.assert_at_most(Duration::from_millis(100), 20);
    servers.servers().iter().for_each(|server| server.unpause().unwrap());
    (0..CALLERS).for_each(|caller| _ = client.get::<Option<String>>(super::own(caller)).unwrap());
}
