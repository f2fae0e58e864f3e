//! A signal interrupts system calls: that is no fault of anybody.

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Builder, ReplicatedClient, Result};

use crate::support::{set_with_key, wait_until};

/// Says that this process runs one test and nothing else.
const ALONE: &str = "REDIS_REPLICATED_TEST_RUNS_ALONE";
/// Signals every thread of a process, about a hundred times a second, as long as there is one.
const SCRIPT: &str =
    r#"while kill -0 "$0"; do for t in /proc/"$0"/task/*; do kill -USR1 "${t##*/}"; done; sleep 0.01; done"#;
const TIME: Duration = Duration::from_secs(10);

/// The process that sends the signals, ended on drop.
struct Signals(Child);

impl Signals {
    fn start() -> Self {
        let own = std::process::id().to_string();
        // Threads end meanwhile: nobody minds.
        let quiet = std::process::Stdio::null;
        Self(Command::new("sh").args(["-c", SCRIPT, &own]).stderr(quiet()).stdout(quiet()).spawn().unwrap())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn no_call_fails_by_a_hundred_signals_a_second() {
    // The signals are for all threads: not for those of other tests.
    run_alone("calls::time_limits::signals::no_call_fails_in_a_process_of_its_own");
}

/// Runs a test that is ignored otherwise, in a process of its own.
pub fn run_alone(test: &str) {
    let program = std::env::current_exe().unwrap();
    let run =
        Command::new(program).args(["--exact", test, "--ignored", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

/// What became of the calls.
#[derive(Default)]
struct Log {
    calls: AtomicUsize,
    written: AtomicI64,
    failed: std::sync::Mutex<Vec<String>>,
}

impl Log {
    fn note<T>(&self, what: &str, result: Result<T>) -> Option<T> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        result.map_err(|error| self.failed.lock().unwrap().push(format!("{what}: {error}"))).ok()
    }

    /// Makes calls of all kinds until the time is over.
    fn run(&self, client: &ReplicatedClient) {
        let end = Instant::now() + TIME;
        let repeat = |call: &(dyn Fn() + Sync)| {
            while Instant::now() < end {
                call();
            }
        };
        let large = "x".repeat(256 << 10);
        let write = || _ = self.note("INCR", client.incr("n")).map(|_| self.written.fetch_add(1, Ordering::SeqCst));
        let read = || _ = self.note("GET", client.get::<String>("k"));
        let send = || {
            self.note("SET", client.set("large", &large));
            self.note("GET", client.get::<String>("large"));
        };
        let block = || {
            let popped = client.query::<Option<(String, String)>>(redis::cmd("BLPOP").arg("empty").arg("0.3"));
            assert_eq!(self.note("BLPOP", popped).flatten(), None);
        };
        let connect = || _ = self.note("refresh", client.refresh());
        let calls: [&(dyn Fn() + Sync); 8] = [&write, &write, &read, &read, &send, &block, &block, &connect];
        thread::scope(|scope| calls.iter().for_each(|call| _ = scope.spawn(|| repeat(*call))));
    }
}

/// Looks for ejected nodes all the time; returns what it saw.
fn watch(client: &ReplicatedClient, stop: &AtomicBool) -> Vec<String> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let snapshot = client.snapshot();
        if snapshot.nodes.iter().any(|node| node.ejected) {
            seen.push(snapshot.to_string());
        }
        // Looks again and again as long as the calls run.
        thread::sleep(Duration::from_millis(5));
    }
    seen
}

fn count(servers: &ReplicaSet) -> i64 {
    redis::cmd("GET").arg("n").query(&mut servers.master().connection().unwrap()).unwrap()
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn no_call_fails_in_a_process_of_its_own() {
    if is_alone() {
        let servers = set_with_key(2);
        check(&servers, servers.client_builder());
    }
}

/// Returns whether this process runs one test and nothing else.
pub fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// Makes calls of all kinds to a set of three while signals come; none of them may fail.
pub fn check(servers: &ReplicaSet, builder: Builder) {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&interrupted)).unwrap();
    // Values that lag behind would be no fault of a signal.
    // Nor would a server that has to wait for a processor.
    let builder = builder.monitor_interval(Duration::from_millis(20));
    let builder =
        builder.response_timeout(Duration::from_secs(10)).checkout_timeout(TIME).deadline(Duration::from_secs(30));
    let client = builder.build().unwrap();
    client.set("n", 0).unwrap();
    client.set("large", "").unwrap();
    wait_until("all nodes are known", || client.snapshot().nodes.iter().all(|node| node.replication.is_some()));
    let (log, stop) = (Log::default(), AtomicBool::new(false));
    let ejected = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&client, &stop));
        let signals = Signals::start();
        log.run(&client);
        drop(signals);
        stop.store(true, Ordering::SeqCst);
        watching.join().unwrap()
    });
    assert!(interrupted.load(Ordering::SeqCst), "no signal came");
    let failed = log.failed.into_inner().unwrap();
    println!("{} of {} calls failed, ejected {} times", failed.len(), log.calls.into_inner(), ejected.len());
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(ejected, Vec::<String>::new());
    assert_eq!(count(servers), log.written.into_inner());
    assert!(client.snapshot().nodes.iter().all(|node| node.failed == 0), "{}", client.snapshot());
}
