//! Names and addresses of a set: what is refused before anything runs, seeds that are dead, and replicas that only Sentinel
//! remembers.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_replicated::testing::{Sentinels, free_port};
use redis_replicated::{ErrorKind, NodeAddr, ReplicatedClient, Role};

use crate::support::{Fake, addrs, places, read_command, set_with_key, wait_until, wait_until_set_is};

#[test]
fn databases_that_cannot_be_are_refused_with_the_name_of_the_setting() {
    for (builder, said) in [
        (ReplicatedClient::builder().sentinel("main", ["redis://127.0.0.1:1/1"]), "sentinel"),
        (ReplicatedClient::builder().discover(["redis://127.0.0.1:1/1", "redis://127.0.0.1:2/2"]), "discover"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(said) && error.to_string().contains("database"), "{error}");
    }
}

/// What a node without a second replication id says of itself; nothing: it hangs up.
type Said = Arc<Mutex<Option<String>>>;

/// Starts a node that says nothing yet.
fn node() -> (Fake, Said) {
    let said: Said = Arc::default();
    let told = Arc::clone(&said);
    let fake = Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(command) = read_command(&mut input) {
            let Some(info) = told.lock().unwrap().clone() else { return };
            let reply = match command[0].as_str() {
                "HELLO" => {
                    let role = if info.contains("role:master") { "master" } else { "replica" };
                    list(&["role", role])
                }
                "INFO" if command.get(1).is_some_and(|section| section == "replication") => bulk(&info),
                "INFO" => bulk(""),
                "GET" => bulk("v"),
                _ => "+OK\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    (fake, said)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn list(texts: &[&str]) -> String {
    let items: String = texts.iter().map(|text| bulk(text)).collect();
    format!("*{}\r\n{items}", texts.len())
}

#[test]
fn discover_keeps_the_set_when_its_only_seed_is_dead_and_nobody_says_what_it_continues() {
    let nodes = [node(), node(), node()];
    let ports: Vec<u16> = nodes.iter().map(|(fake, _)| fake.port).collect();
    let say = |index: usize, text: Option<String>| *nodes[index].1.lock().unwrap() = text;
    let master = |history: &str, replicas: &[u16]| {
        let listed = replicas.iter().enumerate();
        let lines: String =
            listed.map(|(index, port)| format!("slave{index}:ip=127.0.0.1,port={port},state=online\r\n")).collect();
        Some(format!("role:master\r\nmaster_replid:{}\r\nmaster_repl_offset:7\r\n{lines}", history.repeat(40)))
    };
    let replica = |of: u16, history: &str| {
        let link = format!("master_host:127.0.0.1\r\nmaster_port:{of}\r\nmaster_link_status:up\r\n");
        Some(format!("role:slave\r\n{link}master_replid:{}\r\nslave_repl_offset:7\r\n", history.repeat(40)))
    };
    say(0, master("a", &ports[1..]));
    say(1, replica(ports[0], "a"));
    say(2, replica(ports[0], "a"));
    let client = ReplicatedClient::builder().discover([nodes[0].0.url()]).build().unwrap();
    let addr = |port: u16| NodeAddr::tcp("127.0.0.1", port);
    wait_until_set_is(&client, &addr(ports[0]), &[addr(ports[1]), addr(ports[2])]);
    // The master is dead, another one takes over, with a history of its own.
    say(0, None);
    say(1, master("b", &ports[2..]));
    say(2, replica(ports[1], "b"));
    wait_until("the new master is followed", || places(&client).0 == Some(addr(ports[1])));
    for _ in 0..3 {
        client.refresh().unwrap();
        let (master, replicas) = places(&client);
        assert_eq!(master, Some(addr(ports[1])));
        assert!(replicas.contains(&addr(ports[2])), "{replicas:?}");
    }
    client.set("k", "v").unwrap();
}

/// A Sentinel that lists a replica at each of these ports, with these flags.
fn sentinel(master: u16, replicas: Arc<Mutex<Vec<(u16, &'static str)>>>) -> Fake {
    Fake::raw(move |mut output: TcpStream| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(command) = read_command(&mut input) {
            let fields = |port: u16, flags: &str| list(&["ip", "127.0.0.1", "port", &port.to_string(), "flags", flags]);
            let reply = match command.get(1).map(String::as_str) {
                Some("GET-MASTER-ADDR-BY-NAME") => list(&["127.0.0.1", &master.to_string()]),
                Some("MASTER") => fields(master, "master"),
                Some("REPLICAS") => {
                    let replicas = replicas.lock().unwrap();
                    let all: String = replicas.iter().map(|(port, flags)| fields(*port, flags)).collect();
                    format!("*{}\r\n{all}", replicas.len())
                }
                _ => "+OK\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    })
}

const DOWN: &str = "s_down,slave,disconnected";

#[test]
fn sixty_dead_replicas_that_a_sentinel_lists_are_no_nodes_until_they_come_back() {
    let servers = set_with_key(2);
    let port = |addr: &NodeAddr| addr.port().unwrap();
    let replicas = addrs(servers.replicas());
    let mut listed = vec![(port(&replicas[0]), "slave"), (port(&replicas[1]), DOWN)];
    listed.extend((0..60).map(|_| (free_port().unwrap(), DOWN)));
    let listed = Arc::new(Mutex::new(listed));
    let fake = sentinel(port(&servers.master().addr()), Arc::clone(&listed));
    let client = ReplicatedClient::builder().sentinel("main", [fake.url()]).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &replicas[..1]);
    client.refresh().unwrap();
    assert_eq!(client.snapshot().nodes.len(), 2, "each node has a thread that asks it");
    // One of them comes back.
    listed.lock().unwrap()[1].1 = "slave";
    wait_until_set_is(&client, &servers.master().addr(), &replicas);
    // One that the client reaches itself stays, whatever the Sentinel says.
    listed.lock().unwrap()[0].1 = DOWN;
    for _ in 0..3 {
        client.refresh().unwrap();
        assert_eq!(client.snapshot().nodes.len(), 3);
    }
}

#[test]
fn a_replica_that_comes_back_is_found_by_real_sentinels() {
    let mut servers = set_with_key(2);
    let sentinels = Sentinels::start(&servers, 1).unwrap();
    let replicas = addrs(servers.replicas());
    servers.replica_mut(0).stop();
    let flags = || {
        let mut connection = sentinels.sentinels()[0].connection().unwrap();
        let listed: Vec<std::collections::HashMap<String, String>> =
            redis::cmd("SENTINEL").arg("REPLICAS").arg("main").query(&mut connection).unwrap();
        listed.iter().filter(|fields| fields["flags"].contains("s_down")).count()
    };
    wait_until("it is down", || flags() == 1);
    let client = ReplicatedClient::builder().sentinel("main", sentinels.urls()).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &replicas[1..]);
    assert_eq!(client.snapshot().nodes.iter().filter(|node| node.assigned_role == Role::Replica).count(), 1);
    servers.replica_mut(0).restart().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &replicas);
    assert!(client.deadline(Duration::from_secs(2)).get::<Option<String>>("k").is_ok());
}
