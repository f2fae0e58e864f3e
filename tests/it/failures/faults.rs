//! Bad nodes and bad connections: what hurts with stock pools does not hurt here.

use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::{ReplicaSet, free_port};
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient, Role};

use crate::support::{Fake, never_answer, read_some, set_with_key, wait_until};

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn no_read_fails_while_one_replica_of_three_is_killed() {
    let mut servers = set_with_key(3);
    let client = servers.client_builder().build().unwrap();
    let reads = std::sync::atomic::AtomicUsize::new(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let read = || {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(client.get::<String>("k").unwrap(), "v");
                reads.fetch_add(1, Ordering::SeqCst);
            }
        };
        (0..8).for_each(|_| drop(scope.spawn(read)));
        wait_until("reads flow", || reads.load(Ordering::SeqCst) > 500);
        servers.replica_mut(1).stop();
        let killed = reads.load(Ordering::SeqCst);
        wait_until("reads go on", || reads.load(Ordering::SeqCst) > killed + 2000);
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(servers.master().calls("GET").unwrap(), 0);
}

#[test]
fn a_hung_replica_costs_one_response_limit_and_delays_no_other() {
    let servers = set_with_key(2);
    let client = servers.client_builder().strategy(RoundRobin::new()).response_timeout(SHORT).build().unwrap();
    (0..4).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    servers.replica(0).pause().unwrap();
    for _ in 0..8 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    let snapshot = client.snapshot();
    assert!(snapshot.nodes[1].ejected && snapshot.nodes[1].failed <= 4, "{snapshot}");
    assert_eq!(snapshot.nodes[2].failed, 0);
    assert_eq!(servers.master().calls("GET").unwrap(), 0);
    servers.replica(0).resume().unwrap();
    wait_until("the replica serves again", || {
        client.get::<String>("k").unwrap();
        !client.snapshot().nodes[1].ejected && client.snapshot().nodes[1].answered > 4
    });
}

#[test]
fn a_refused_port_is_known_at_once() {
    let servers = set_with_key(0);
    let dead = free_port().unwrap();
    let long = Duration::from_secs(20);
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(("127.0.0.1", dead));
    let client = builder.connect_timeout(long).checkout_timeout(long).deadline(3 * long).build().unwrap();
    let start = Instant::now();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert!(start.elapsed() < long / 2, "stock r2d2 waits its whole timeout: {:?}", start.elapsed());
    let node = &client.snapshot().nodes[1];
    // The monitor may have found out before the call did.
    assert!(node.failed == 1 || (node.failed == 0 && node.ejected), "{node:?}");
    assert!(node.ejected || start.elapsed() > Duration::from_millis(500), "avoided for a while");
}

#[test]
fn a_node_that_accepts_and_says_nothing_costs_the_connect_limit_once() {
    let servers = set_with_key(0);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://:secret@{}/2?protocol=resp3", silent.local_addr().unwrap());
    let builder = ReplicatedClient::builder().master(format!("{}/2", servers.master().url())).replica(url);
    let limit = Duration::from_secs(2);
    let client = builder.connect_timeout(limit).deadline(10 * limit).client_name("x").build().unwrap();
    let start = Instant::now();
    client.get::<Option<String>>("k").unwrap();
    let elapsed = start.elapsed();
    // Two replies are waited for; the redis crate gives each of them the whole limit.
    assert!(elapsed > limit / 2 && elapsed < 2 * limit - limit / 8, "the handshake multiplied its limit: {elapsed:?}");
}

#[test]
fn a_hung_pipeline_does_not_multiply_the_limit() {
    let hung = Fake::start("master", never_answer);
    let client = ReplicatedClient::builder().master(hung.url()).response_timeout(SHORT).build().unwrap();
    let mut pipeline = redis::pipe();
    (0..50).for_each(|n| _ = pipeline.set(n, n).ignore());
    let start = Instant::now();
    let error = client.query_pipeline::<()>(&pipeline).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true));
    assert!(start.elapsed() < 25 * SHORT, "50 limits would be 5 s: {:?}", start.elapsed());
}

#[test]
fn calls_return_by_their_deadline() {
    let hung = [
        Fake::start("master", never_answer),
        Fake::start("replica", never_answer),
        Fake::start("replica", never_answer),
    ];
    let builder = ReplicatedClient::builder().master(hung[0].url()).replicas(hung[1..].iter().map(Fake::url));
    let client = builder.deadline(Duration::from_millis(300)).build().unwrap();
    for call in [|c: &ReplicatedClient| c.get::<String>("k").err(), |c: &ReplicatedClient| c.set("k", "v").err()] {
        let start = Instant::now();
        let error = call(&client).unwrap();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert!(
            start.elapsed() < Duration::from_millis(950),
            "one response limit is 1 s: {:?}: {error}",
            start.elapsed()
        );
    }
}

#[test]
fn a_connection_that_failed_is_never_lent_again() {
    let garbage = Fake::start("replica", |mut stream| {
        while read_some(&mut stream) > 0 {
            // A late or wrong reply must not become somebody else's.
            if stream.write_all(b"?what\r\n$5\r\nother\r\n").is_err() {
                return;
            }
        }
    });
    let client = ReplicatedClient::builder()
        .master(("127.0.0.1", free_port().unwrap()))
        .replica(garbage.url())
        .read_from(ReadFrom::Replica)
        .pool_size(1)
        .monitor_interval(Duration::ZERO)
        .deadline(Duration::from_millis(250))
        .build()
        .unwrap();
    for call in 1..=3 {
        let error = client.get::<String>("k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "call {call}: {error}");
    }
    let attempts = client.snapshot().nodes[1].failed;
    assert!(attempts >= 3);
    assert_eq!(garbage.connections.load(Ordering::SeqCst) as u64, attempts, "each attempt on a connection of its own");
}

#[test]
fn connections_closed_while_idle_speak_against_nobody() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let all_at_once = || {
        thread::scope(|scope| {
            (0..6).for_each(|_| {
                drop(scope.spawn(|| {
                    client
                        .query::<()>(redis::cmd("XREAD").arg("BLOCK").arg(100).arg("STREAMS").arg("s").arg("$"))
                        .unwrap()
                }))
            })
        });
    };
    all_at_once();
    client.set("k", "v").unwrap();
    for server in servers.servers() {
        let mut connection = server.connection().unwrap();
        let killed: i64 = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut connection).unwrap();
        assert!(killed >= 1);
    }
    let before = client.snapshot();
    for _ in 0..20 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    let after = client.snapshot();
    assert_eq!(after.nodes[1].answered - before.nodes[1].answered, 20, "the same node served all of them");
    assert!(after.nodes.iter().all(|node| node.failed == 0 && !node.ejected), "{after}");
}

#[test]
fn a_write_on_a_rested_connection_is_proven_first() {
    let servers = set_with_key(0);
    // One slot: with several, the second write may take an empty one and open another connection.
    let client = servers.client_builder().pool_size(1).build().unwrap();
    client.set("k", "1").unwrap();
    let hellos = servers.master().calls("HELLO").unwrap();
    let start = Instant::now();
    (0..10).for_each(|_| client.set("k", "2").unwrap());
    // At most the first of them, and one for each second that the machine stood still.
    let asked = servers.master().calls("HELLO").unwrap() - hellos;
    assert!(asked <= 1 + start.elapsed().as_secs(), "a busy connection needs no proof: {asked}");
    let hellos = hellos + asked;
    let mut connection = servers.master().connection().unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut connection).unwrap();
    // Rested: what is idle for a second may have been closed, as here, and a write must not find out.
    thread::sleep(Duration::from_millis(1050));
    client.incr("n").unwrap();
    assert!(servers.master().calls("HELLO").unwrap() > hellos);
    assert_eq!(client.get::<i64>("n").unwrap(), 1);
}

#[test]
fn a_loading_replica_is_left_alone() {
    let loading = Fake::start("replica", |mut stream| {
        while read_some(&mut stream) > 0 {
            if stream.write_all(b"-LOADING Redis is loading the dataset in memory\r\n").is_err() {
                return;
            }
        }
    });
    let servers = set_with_key(1);
    let client = servers.client_builder().replica(loading.url()).monitor_interval(Duration::ZERO).build().unwrap();
    for _ in 0..50 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    let snapshot = client.snapshot();
    assert!(snapshot.nodes[2].ejected && snapshot.nodes[2].failed <= 2, "{snapshot}");
    assert_eq!(loading.connections.load(Ordering::SeqCst), 1, "stock r2d2 reconnects thousands of times a second");
}

#[test]
fn nothing_is_written_to_a_node_that_says_it_is_a_replica() {
    let servers = set_with_key(1);
    let replica = servers.replica(0);
    let client = ReplicatedClient::builder().master(replica.url()).deadline(3 * SHORT).build().unwrap();
    let error = client.set("k", "x").unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Unavailable, false));
    assert!(
        error.to_string().contains(&format!("is a replica of {}; no master was found", servers.master().addr())),
        "{error}"
    );
    assert_eq!(client.snapshot().nodes[0].role, Role::Replica);
    assert_eq!((replica.errors("READONLY").unwrap(), replica.calls("SET").unwrap()), (0, 1));
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut replica.connection().unwrap()).unwrap();
    client.set("k", "x").unwrap();
}

#[test]
fn a_demoted_master_gets_no_further_write_and_nothing_is_lost() {
    let servers = set_with_key(1);
    let client = servers.client_builder().deadline(Duration::from_secs(10)).build().unwrap();
    client.set("k", "1").unwrap();
    let other = servers.replica(0).addr();
    let mut admin = servers.master().connection().unwrap();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(other.port()).exec(&mut admin).unwrap();
    let writer = client.clone();
    let write = thread::spawn(move || writer.incr("n"));
    wait_until("the demotion is noticed", || client.snapshot().nodes[0].role == Role::Replica);
    // Nothing tells that no write was sent: long enough for several.
    thread::sleep(SHORT);
    let refused = servers.master().errors("READONLY").unwrap();
    assert!(refused <= 1, "the role is asked for before a write is tried again: {refused}");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut admin).unwrap();
    assert_eq!(write.join().unwrap().unwrap(), 1, "it was sent again when that was safe");
}

#[test]
fn a_busy_pool_sends_reads_to_the_other_replica() {
    let servers = set_with_key(2);
    let script = "#!lua flags=no-writes\nlocal n = 0 for i = 1, 3e7 do n = n + i end return n";
    let builder = servers.client_builder().response_timeout(Duration::from_secs(30)).pool_size(1);
    let client = builder.checkout_timeout(SHORT).shared_connections(0).build().unwrap();
    let work = || client.deadline(Duration::from_secs(60)).query::<u64>(redis::cmd("EVAL").arg(script).arg(0));
    thread::scope(|scope| {
        scope.spawn(|| work().unwrap());
        wait_until("one pool is used up", || client.snapshot().nodes.iter().any(|node| node.connections_in_use == 1));
        for _ in 0..4 {
            assert_eq!(client.get::<String>("k").unwrap(), "v");
        }
        assert!(client.snapshot().nodes.iter().all(|node| !node.ejected), "a busy pool is not the node's fault");
    });
}

#[test]
fn calls_work_as_soon_as_nodes_appear() {
    let mut servers = set_with_key(1);
    let client = servers.client_builder().deadline(Duration::from_secs(20)).build().unwrap();
    (0..2).for_each(|index| if index == 0 { servers.master_mut().stop() } else { servers.replica_mut(0).stop() });
    let waiting = [client.clone(), client.clone()];
    let [write, read] = waiting;
    let write = thread::spawn(move || write.set("k", "again"));
    let read = thread::spawn(move || read.get::<Option<String>>("other"));
    wait_until("both have met dead nodes", || client.snapshot().nodes.iter().all(|node| node.failed > 0));
    servers.master_mut().restart().unwrap();
    write.join().unwrap().unwrap();
    assert_eq!(read.join().unwrap().unwrap(), None);
}

#[test]
fn the_housekeeping_thread_ends_with_the_last_handle() {
    let threads = || {
        let names = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("redis-replicat")).count()
    };
    // Other tests have clients of their own: only what this client adds counts, and that it goes.
    let servers = ReplicaSet::start(0).unwrap();
    let clients: Vec<_> = (0..40).map(|_| servers.client_builder().build().unwrap()).collect();
    wait_until("the threads have started", || threads() >= 40);
    drop(clients);
    wait_until("the threads end", || threads() < 40);
}

#[test]
fn a_half_closed_connection_is_replaced() {
    let servers = set_with_key(0);
    let rude = Fake::start("replica", |stream| stream.shutdown(Shutdown::Write).unwrap());
    let client = servers.client_builder().replica(rude.url()).build().unwrap();
    (0..5).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
}

/// A server from before HELLO, which answers everything else as it should.
fn without_hello(port_of: &'static str) -> Fake {
    Fake::raw(move |stream| {
        let mut input = std::io::BufReader::new(stream.try_clone().unwrap());
        let mut output = stream;
        while let Some(words) = crate::support::read_command(&mut input) {
            let answer = match words[0].to_ascii_uppercase().as_str() {
                "HELLO" => {
                    "-ERR unknown command 'HELLO', with args beginning with: ".to_owned()
                        + &words[1..].join(" ")
                        + "\r\n"
                }
                "AUTH" | "SELECT" => "+OK\r\n".to_owned(),
                "ROLE" => format!("*1\r\n${}\r\n{port_of}\r\n", port_of.len()),
                "GET" => format!("${}\r\n{}\r\n", words[1].len(), words[1]),
                _ => "+OK\r\n".to_owned(),
            };
            if output.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_server_without_hello_is_greeted_as_of_old_and_owes_nothing() {
    let old = without_hello("master");
    for login in ["", ":secret@"] {
        let url = format!("redis://{login}127.0.0.1:{}/2", old.port);
        let client = ReplicatedClient::builder().master(url).pool_size(1).build().unwrap();
        for key in ["first", "second"] {
            assert_eq!(client.get::<String>(key).unwrap(), key, "somebody else's reply");
        }
    }
    let url = format!("redis://:secret@127.0.0.1:{}/2?protocol=resp3", old.port);
    let client = ReplicatedClient::builder().master(url).deadline(SHORT).build().unwrap();
    let error = client.dedicated(redis_replicated::Target::Master).err().unwrap();
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[test]
fn a_script_is_not_sent_again_because_of_an_error_that_it_made_up() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    for code in ["TRYAGAIN later", "BUSY locked", "READONLY made up", "LOADING made up"] {
        let script = format!("redis.call('INCR', 'n') return redis.error_reply('{code}')");
        let error = client.query::<()>(redis::cmd("EVAL").arg(script).arg(0)).unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, true), "{error}");
    }
    assert_eq!(client.get::<i64>("n").unwrap(), 4);
    assert!(!client.snapshot().nodes[0].ejected);
}

#[test]
fn all_connections_to_a_demoted_master_are_asked_before_the_next_write() {
    let servers = set_with_key(1);
    let client = servers.client_builder().deadline(5 * SHORT).build().unwrap();
    thread::scope(|scope| {
        let block = || client.query::<()>(redis::cmd("BLPOP").arg("none").arg(0.1)).unwrap();
        (0..5).for_each(|_| drop(scope.spawn(block)));
    });
    let port = servers.replica(0).addr().port();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec(&mut servers.master().connection().unwrap()).unwrap();
    let error = client.set("k", "x").unwrap_err();
    assert!(!error.may_have_executed(), "{error}");
    // None at all, if the connections had rested and were asked first.
    assert!(servers.master().errors("READONLY").unwrap() <= 1);
    let error = client.query_pipeline::<()>(redis::pipe().set("k", "x").set("k", "y")).unwrap_err();
    assert!(!error.may_have_executed(), "{error}");
    assert!(servers.master().errors("READONLY").unwrap() <= 1);
}

#[test]
fn a_blocking_command_does_not_wait_for_a_dead_master_as_long_as_it_would_block() {
    let dead = free_port().unwrap();
    let client = ReplicatedClient::builder().master(("127.0.0.1", dead)).deadline(2 * SHORT).build().unwrap();
    let error = client.query::<()>(redis::cmd("BLPOP").arg("q").arg(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkout);
}
