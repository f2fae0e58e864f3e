//! No more connections: the server has no room for more clients, or this process has no more files.

use std::fs::File;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use redis::Connection;
use redis_replicated::ReplicatedClient;
use redis_replicated::testing::{ReplicaSet, Server};

use super::traffic::Traffic;
use crate::support::{set_with_key, wait_until};

/// What administers the servers: opened before they are full.
fn administrators(servers: &ReplicaSet) -> Vec<Connection> {
    servers.servers().iter().map(|server| server.connection().unwrap()).collect()
}

fn info(connection: &mut Connection, section: &str, field: &str) -> u64 {
    let text: String = redis::cmd("INFO").arg(section).query(connection).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// How often the server has run GET.
fn gets(connection: &mut Connection) -> u64 {
    let text: String = redis::cmd("INFO").arg("commandstats").query(connection).unwrap();
    let calls = text.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls=")?.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

/// Lets a server have so many clients more than it has.
fn leave_room_for(connection: &mut Connection, more: u64) {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(connection).unwrap();
    let most = list.lines().count() as u64 + more;
    redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(most).exec(connection).unwrap();
}

fn wait_until_known(client: &ReplicatedClient) {
    wait_until("all nodes are known", || client.snapshot().nodes.iter().all(|node| node.replication.is_some()));
}

#[test]
fn servers_at_half_of_the_clients_that_are_wanted_serve_all_calls() {
    let servers = set_with_key(2);
    let mut administrators = administrators(&servers);
    let client = servers.client_builder().pool_size(24).build().unwrap();
    wait_until_known(&client);
    // 24 threads on two replicas want twelve connections to each, and one each to the master.
    administrators.iter_mut().for_each(|connection| leave_room_for(connection, 6));
    let traffic = Traffic::run(&client, 24, |traffic| traffic.flow(20_000));
    let rejected = administrators.iter_mut().map(|connection| info(connection, "stats", "rejected_connections"));
    assert!(rejected.sum::<u64>() > 0, "no server was full");
    traffic.assert_untroubled("maxclients");
    let gets: Vec<_> = administrators.iter_mut().map(gets).collect();
    println!("GET: {gets:?} (master, replicas)");
    assert!(gets[0] * 10 <= gets.iter().sum(), "more than a tenth on the master: {gets:?}");
}

#[test]
fn a_replica_that_is_full_of_others_keeps_no_read_from_the_other() {
    let servers = set_with_key(2);
    let mut administrators = administrators(&servers);
    leave_room_for(&mut administrators[1], 0);
    let client = servers.client_builder().pool_size(24).build().unwrap();
    let traffic = Traffic::run(&client, 8, |traffic| traffic.flow(3000));
    assert!(info(&mut administrators[1], "stats", "rejected_connections") > 0, "it is not full");
    // Nothing of it can be used: it may be ejected.
    assert_eq!(traffic.failures(), 0, "{traffic:?}");
    assert_eq!(gets(&mut administrators[1]), 0);
    assert_eq!(gets(&mut administrators[0]), 0, "the other replica serves");
    // It is used as soon as there is room.
    leave_room_for(&mut administrators[1], 100);
    wait_until("it serves", || client.get::<String>("k").is_ok() && gets(&mut administrators[1]) > 0);
}

#[test]
fn a_write_waits_until_a_full_master_has_room() {
    let servers = set_with_key(0);
    let mut administrator = servers.master().connection().unwrap();
    leave_room_for(&mut administrator, 0);
    let client = servers.client_builder().deadline(Duration::from_secs(20)).build().unwrap();
    let hurried = client.deadline(Duration::from_millis(200)).set("k", "w").unwrap_err();
    assert!(!hurried.may_have_executed(), "{hurried}");
    let writer = client.clone();
    let write = thread::spawn(move || writer.set("k", "w"));
    wait_until("it is refused", || info(&mut administrator, "stats", "rejected_connections") > 1);
    assert!(!write.is_finished(), "{:?}", write.join());
    leave_room_for(&mut administrator, 10);
    write.join().unwrap().unwrap();
}

/// Says that this process runs one test and nothing else.
const ALONE: &str = "REDIS_REPLICATED_TEST_RUNS_ALONE";

#[test]
fn a_process_without_files_goes_on_with_the_connections_it_has() {
    // Other tests need files: only a process of its own can have none.
    let test = "failures::capacity::clients::open_connections_serve_in_a_process_of_its_own";
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 128 && exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let run = command.args(["--exact", test, "--ignored", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn open_connections_serve_in_a_process_of_its_own() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let servers = set_with_key(2);
    let client = servers.client_builder().pool_size(16).build().unwrap();
    wait_until_known(&client);
    let at_once = Barrier::new(3);
    let call = || {
        at_once.wait();
        (0..100).for_each(|_| drop((client.get::<String>("k").unwrap(), client.set("written", 0).unwrap())));
    };
    thread::scope(|scope| (0..3).for_each(|_| _ = scope.spawn(call)));
    wait_until("both replicas are connected", || {
        client.get::<String>("k").unwrap();
        client.snapshot().nodes.iter().all(|node| node.answered > 0)
    });
    let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let traffic = Traffic::run(&client, 16, |traffic| traffic.flow(5000));
    println!("{} files were left", files.len());
    drop(files);
    traffic.assert_untroubled("no files");
    assert!(traffic.reads.load(Ordering::SeqCst) >= 5000);
    assert!(servers.replicas().iter().map(Server::addr).all(|addr| {
        let snapshot = client.snapshot();
        snapshot.nodes.iter().any(|node| node.addr == addr && node.failed == 0)
    }));
}
