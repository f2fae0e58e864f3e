//! What servers refuse: it waits, goes elsewhere or goes to the caller, and blames nobody.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{Classification, ErrorKind, ReadFrom, ReplicatedClient, Role, redis};

use crate::support::{
    Fake, check_that_nobody_is_blamed, configure, follow, promote, read_command, set_with_key, wait_until,
};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(500);
const READONLY: &str = "READONLY You can't write against a read only replica.";

/// A node that answers questions about itself, and each other command as `answer` says.
fn fake(role: &'static str, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Fake {
    let answer = Arc::new(answer);
    Fake::start(role, move |mut stream: TcpStream| {
        let mut input = BufReader::new(stream.try_clone().unwrap());
        while let Some(command) = read_command(&mut input) {
            let name = command[0].to_ascii_uppercase();
            let info = format!("role:{role}\r\nmaster_link_status:up\r\n");
            let reply = match &name[..] {
                "HELLO" => format!("*2\r\n$4\r\nrole\r\n${}\r\n{role}\r\n", role.len()),
                "ROLE" => format!("*1\r\n${}\r\n{role}\r\n", role.len()),
                "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                name => answer(name),
            };
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// The forms in which servers refuse a script that writes.
fn wrapped(refusal: &str) -> [String; 3] {
    [
        format!("-ERR Error running script (call to f_6b1b): @user_script:1: @user_script: 1: -{refusal} \r\n"),
        format!("-ERR Error running script (call to 6b1b): @user_script:1: -{refusal}\r\n"),
        format!("-{refusal} script: 6b1b, on @user_script:1.\r\n"),
    ]
}

#[test]
fn a_script_refused_by_a_demoted_master_is_recognised_in_each_wording() {
    for line in wrapped(READONLY) {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let node = fake("master", move |name| match name {
            "EVAL" => {
                seen.fetch_add(1, Ordering::SeqCst);
                line.clone()
            }
            _ => "+OK\r\n".to_owned(),
        });
        let builder = ReplicatedClient::builder().master(node.url()).monitor_interval(Duration::ZERO);
        let client = builder.build().unwrap().deadline(SHORT);
        client.set("warm", 1).unwrap();
        let error = client.query::<()>(redis::cmd("EVAL").arg("x").arg(0)).unwrap_err();
        assert!(!error.may_have_executed(), "{error:?}");
        assert!(calls.load(Ordering::SeqCst) >= 1);
        // The connection was closed, and the node asked before the next write.
        assert!(node.connections.load(Ordering::SeqCst) >= 2, "{error:?}");
    }
}

#[test]
fn a_script_goes_to_the_new_master_when_the_old_one_refused_it_in_wrapped_words() {
    let servers = ReplicaSet::start(0).unwrap();
    let [line, ..] = wrapped(READONLY);
    let demoted = fake("slave", move |name| if name == "EVAL" { line.clone() } else { "+OK\r\n".to_owned() });
    // It says that it is a master until it is asked for a write.
    let is_demoted = Arc::new(AtomicUsize::new(0));
    let [line, ..] = wrapped(READONLY);
    let flag = Arc::clone(&is_demoted);
    let old = Fake::raw(move |mut stream| {
        let mut input = BufReader::new(stream.try_clone().unwrap());
        while let Some(command) = read_command(&mut input) {
            let role = if flag.load(Ordering::SeqCst) == 0 { "master" } else { "slave" };
            let info = format!("role:{role}\r\nmaster_link_status:up\r\n");
            let reply = match &command[0].to_ascii_uppercase()[..] {
                "HELLO" => format!("*2\r\n$4\r\nrole\r\n${}\r\n{role}\r\n", role.len()),
                "ROLE" => format!("*1\r\n${}\r\n{role}\r\n", role.len()),
                "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                "EVAL" => {
                    flag.store(1, Ordering::SeqCst);
                    line.clone()
                }
                _ => "+OK\r\n".to_owned(),
            };
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    drop(demoted);
    let builder = ReplicatedClient::builder().master(old.url()).replica(servers.master().url());
    let client = builder.monitor_interval(Duration::ZERO).build().unwrap().deadline(LONG);
    client.set("warm", 1).unwrap();
    let incr = "return redis.call('INCR', 'n')";
    assert_eq!(client.query::<i64>(redis::cmd("EVAL").arg(incr).arg(0)).unwrap(), 1);
}

#[test]
fn a_script_in_a_transaction_goes_to_the_new_master() {
    let servers = set_with_key(1);
    let client = servers.client_builder().monitor_interval(Duration::ZERO).build().unwrap().deadline(LONG);
    client.set("warm", 1).unwrap();
    promote(servers.replica(0));
    follow(servers.master(), servers.replica(0));
    let mut transaction = redis::pipe();
    transaction.atomic().cmd("EVAL").arg("return redis.call('INCR', 'n')").arg(0);
    assert_eq!(client.query_pipeline::<(i64,)>(&transaction).unwrap(), (1,));
}

#[test]
fn a_demotion_shows_in_a_transaction_by_hand() {
    let servers = set_with_key(1);
    let client = servers.client_builder().monitor_interval(Duration::ZERO).build().unwrap().deadline(LONG);
    let mut connection = client.connection();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    redis::cmd("EVAL").arg("return redis.call('INCR', 'n')").arg(0).exec(&mut connection).unwrap();
    promote(servers.replica(0));
    follow(servers.master(), servers.replica(0));
    let error = redis::cmd("EXEC").exec(&mut connection).unwrap_err();
    assert_eq!(error.code(), Some("READONLY"), "{error:?}");
    assert_eq!(client.snapshot().nodes[0].role, Role::Replica);
}

#[test]
fn what_a_replica_refuses_as_a_write_goes_to_the_master_and_is_remembered() {
    let servers = set_with_key(2);
    let builder = servers.client_builder().classify("SETBIT", Classification::Read);
    let client = builder.build().unwrap();
    let set_bit = |at: usize| redis::cmd("SETBIT").arg("bits").arg(at).arg(1).clone();
    for handle in [client.clone(), client.read_from(ReadFrom::Replica), client.session()] {
        for at in 0..20 {
            handle.query::<i64>(&set_bit(at)).unwrap();
        }
    }
    let refused = |server: &Server| server.errors("READONLY").unwrap();
    assert_eq!(servers.replicas().iter().map(refused).sum::<u64>(), 1, "only the first one was sent to a replica");
    assert_eq!(client.explain(&set_bit(0)).classification(), Classification::Write);
    check_that_nobody_is_blamed(&client);
    servers.wait_until_in_sync().unwrap();
    (0..20).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    assert_eq!(servers.master().calls("GET").unwrap(), 0, "replicas still serve reads");
}

#[test]
fn a_pipeline_that_a_replica_refuses_in_part_goes_whole_to_the_master() {
    let servers = set_with_key(2);
    let client = servers.client_builder().classify("INCRBY", Classification::Read).build().unwrap();
    for n in 1..10 {
        let mut pipeline = redis::pipe();
        pipeline.get("k").incr("n", 1);
        assert_eq!(client.query_pipeline::<(String, i64)>(&pipeline).unwrap(), ("v".to_owned(), n));
    }
    let refused = |server: &Server| server.errors("READONLY").unwrap();
    assert_eq!(servers.replicas().iter().map(refused).sum::<u64>(), 1);
    assert_eq!(client.explain(redis::cmd("GET").arg("k")).classification(), Classification::Read);
    check_that_nobody_is_blamed(&client);
}

#[test]
fn a_read_only_script_unknown_to_replicas_goes_to_the_master() {
    let servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap();
    let script = "return redis.call('GET', KEYS[1])";
    let sha: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut servers.master().connection().unwrap()).unwrap();
    let run = redis::cmd("EVALSHA_RO").arg(&sha).arg(1).arg("k").clone();
    (0..10).for_each(|_| assert_eq!(client.query::<String>(&run).unwrap(), "v"));
    assert_eq!(client.session().query::<String>(&run).unwrap(), "v");
    let mut pipeline = redis::pipe();
    pipeline.get("k").add_command(run.clone());
    assert_eq!(client.query_pipeline::<(String, String)>(&pipeline).unwrap(), ("v".to_owned(), "v".to_owned()));
    let code = |client: &ReplicatedClient, command: &redis::Cmd| {
        let error = client.query::<String>(command).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server, "{error:?}");
        error.as_redis().unwrap().code().unwrap().to_owned()
    };
    assert_eq!(code(&client.read_from(ReadFrom::Replica), &run), "NOSCRIPT");
    assert_eq!(code(&client, redis::cmd("EVALSHA_RO").arg("0".repeat(40)).arg(0)), "NOSCRIPT");
    assert_eq!(code(&client, redis::cmd("FCALL_RO").arg("none").arg(0)), "ERR");
    check_that_nobody_is_blamed(&client);
}

#[test]
fn many_read_only_scripts_at_once_share_the_room_on_the_master() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap().deadline(LONG);
    let script = "return redis.call('GET', KEYS[1])";
    let sha: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut servers.master().connection().unwrap()).unwrap();
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let run = redis::cmd("EVALSHA_RO").arg(&sha).arg(1).arg("k").clone();
                (0..50).for_each(|_| assert_eq!(client.query::<String>(&run).unwrap(), "v"));
            });
        }
    });
    check_that_nobody_is_blamed(&client);
}

/// Keeps a server busy with a script until told otherwise.
fn keep_busy(server: &Server) -> thread::JoinHandle<()> {
    configure(server, "lua-time-limit", 5);
    let mut connection = server.connection().unwrap();
    let busy = thread::spawn(move || {
        let _ = redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut connection);
    });
    let mut other = server.connection().unwrap();
    wait_until("it is busy", || {
        redis::cmd("PING").query::<String>(&mut other).is_err_and(|error| error.code() == Some("BUSY"))
    });
    busy
}

fn kill_script(server: &Server) {
    redis::cmd("SCRIPT").arg("KILL").exec(&mut server.connection().unwrap()).unwrap();
}

#[test]
fn writes_wait_for_a_busy_master() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap().deadline(LONG);
    client.set("n", 0).unwrap();
    let busy = keep_busy(servers.master());
    // A server that is busy may also be late.
    wait_until("the master says that it is busy", || {
        let began = Instant::now();
        let error = client.deadline(SHORT).query::<()>(&redis::cmd("TIME")).unwrap_err();
        let is_told = error.as_redis().unwrap().code() == Some("BUSY");
        if is_told {
            assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error:?}");
            assert!(began.elapsed() >= SHORT / 2 && began.elapsed() < 3 * SHORT, "{:?}", began.elapsed());
        }
        is_told
    });
    thread::scope(|scope| {
        let write = scope.spawn(|| client.incr("n"));
        let publish = scope.spawn(|| client.query::<i64>(redis::cmd("PUBLISH").arg("c").arg("m")));
        let script = scope.spawn(|| client.query::<i64>(redis::cmd("EVAL").arg("return 7").arg(0)));
        // So that each is refused at least once: a busy server tells nobody how often it refused.
        thread::sleep(SHORT);
        kill_script(servers.master());
        assert_eq!(write.join().unwrap().unwrap(), 1);
        publish.join().unwrap().unwrap();
        assert_eq!(script.join().unwrap().unwrap(), 7);
    });
    busy.join().unwrap();
    assert_eq!(client.incr("n").unwrap(), 2, "executed once");
}

#[test]
fn a_master_that_stays_busy_is_told_by_its_own_words() {
    let servers = set_with_key(1);
    let client = servers.client_builder().monitor_interval(Duration::from_millis(100)).build().unwrap();
    client.set("n", 0).unwrap();
    let busy = keep_busy(servers.master());
    // Long enough for the monitor to take it for silent.
    let end = Instant::now() + 6 * SHORT;
    let mut told = 0;
    for handle in [client.clone(), client.session()].iter().cycle() {
        let error = handle.deadline(SHORT).incr("n").unwrap_err();
        let is_told = error.as_redis().unwrap().code() == Some("BUSY");
        // A server that is busy may also be late.
        assert_eq!(error.kind(), if is_told { ErrorKind::Server } else { ErrorKind::Interrupted }, "{error:?}");
        assert_eq!(error.may_have_executed(), !is_told);
        told += usize::from(is_told);
        if Instant::now() > end && told > 2 {
            break;
        }
    }
    kill_script(servers.master());
    busy.join().unwrap();
    wait_until("writes go on", || client.incr("n").is_ok());
}

#[test]
fn a_busy_master_is_not_asked_in_a_spin_and_not_ejected() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let node = fake("master", move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n".to_owned()
    });
    let builder = ReplicatedClient::builder().master(node.url()).monitor_interval(Duration::ZERO);
    let client = builder.build().unwrap().deadline(2 * SHORT);
    let error = client.set("k", 1).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error:?}");
    let asked = asked.load(Ordering::SeqCst);
    assert!((4..60).contains(&asked), "asked {asked} times in a second");
    check_that_nobody_is_blamed(&client);
}

#[test]
fn writes_wait_for_the_replicas_of_a_new_master_and_for_those_of_an_old_one_not() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap().deadline(LONG);
    client.set("n", 0).unwrap();
    servers.servers().iter().for_each(|server| configure(server, "min-replicas-to-write", 1));
    let no_replicas = |error: redis_replicated::Error| {
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error:?}");
        assert_eq!(error.as_redis().unwrap().code(), Some("NOREPLICAS"));
    };
    servers.master_mut().stop();
    promote(servers.replica(0));
    wait_until("it is the master", || client.snapshot().nodes[1].assigned_role == Role::Master);
    no_replicas(client.deadline(SHORT).incr("n").unwrap_err());
    let refused = || servers.replica(0).errors("NOREPLICAS").unwrap();
    let before = refused();
    thread::scope(|scope| {
        let write = scope.spawn(|| client.incr("n"));
        let pipeline = scope.spawn(|| client.query_pipeline::<()>(redis::pipe().set("a", 1).set("b", 1)));
        let script = scope.spawn(|| client.query::<()>(redis::cmd("EVAL").arg("redis.call('SET', 'c', 1)").arg(0)));
        let transaction = scope.spawn(|| client.query_pipeline::<()>(redis::pipe().atomic().set("d", 1).set("e", 1)));
        wait_until("all of them are refused", || refused() >= before + 6);
        follow(servers.replica(1), servers.replica(0));
        assert_eq!(write.join().unwrap().unwrap(), 1);
        pipeline.join().unwrap().unwrap();
        script.join().unwrap().unwrap();
        transaction.join().unwrap().unwrap();
    });
    // A client to which this one has always been the master.
    let other = ReplicatedClient::builder().master(servers.replica(0).url()).build().unwrap().deadline(LONG);
    assert_eq!(other.incr("n").unwrap(), 2);
    configure(servers.replica(0), "min-replicas-to-write", 5);
    let began = Instant::now();
    no_replicas(other.incr("n").unwrap_err());
    assert!(began.elapsed() < LONG / 4, "at once");
}
