//! Strategies on real servers, by the servers' own counts.

use std::array;
use std::io::{BufReader, Write};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::strategy::{LeastOutstanding, PeakEwma, RoundRobin, Strategy, WeightedRoundRobin, ZoneAffinity};
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{Builder, Endpoint, NodeSnapshot, ReadFrom, ReplicatedClient, SyncState};

use crate::support::{Fake, Load, read_command, set_with_key, wait_until, wait_until_set_is};

const THREADS: usize = 8;
/// A busy machine must not look like a bad node.
const LONG: Duration = Duration::from_secs(20);

/// A master and four replicas, the first two of them in the client's zone, behind proxies. The master is there, too.
struct Zones {
    servers: ReplicaSet,
    proxies: [FaultProxy; 2],
    client: ReplicatedClient,
}

impl Zones {
    fn start(strategy: impl Strategy, set_up: impl Fn(Builder) -> Builder) -> Self {
        let servers = set_with_key(4);
        let proxies = array::from_fn(|n| FaultProxy::start(&servers.replica(n).addr()).unwrap());
        let near = proxies.iter().map(|proxy: &FaultProxy| Endpoint::from(proxy.url()).zone("near"));
        let far = servers.replicas()[2..].iter().map(|replica| Endpoint::from(replica.url()).zone("far"));
        let master = Endpoint::from(servers.master().url()).zone("near");
        let builder = ReplicatedClient::builder().master(master).replicas(near.chain(far)).strategy(strategy);
        Self { client: set_up(builder).build().unwrap(), proxies, servers }
    }

    /// The reads that each replica has served, those of the own zone first.
    fn reads(&self) -> [u64; 4] {
        array::from_fn(|n| gets(self.servers.replica(n)))
    }

    fn far_reads(&self) -> u64 {
        self.servers.replicas()[2..].iter().map(gets).sum()
    }

    /// Whether the client avoids both replicas of its zone.
    fn own_zone_is_out(&self) -> bool {
        self.client.snapshot().nodes[1..=2].iter().all(|node| node.ejected)
    }
}

fn gets(server: &Server) -> u64 {
    server.calls("GET").unwrap()
}

/// Reads `k` so often, on several threads.
fn read(client: &ReplicatedClient, reads: usize) {
    assert_eq!(reads % 4, 0);
    thread::scope(|scope| {
        let read = || (0..reads / 4).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        (0..4).for_each(|_| drop(scope.spawn(read)));
    });
}

#[test]
fn reads_stay_in_their_zone_while_it_can_serve() {
    let zones = Zones::start(ZoneAffinity::new("near", RoundRobin::new()), |builder| builder.response_timeout(LONG));
    let ((), failures) = Load::run(&zones.client, THREADS, |load| load.flow(5000));
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
    let [first, second, far @ ..] = zones.reads();
    println!("own zone: {first} and {second} reads");
    assert!(first.abs_diff(second) <= 1 && first > 2000, "{first} and {second}");
    assert_eq!((far, gets(zones.servers.master())), ([0, 0], 0));
}

/// Takes the own zone away under load and gives it back: no read fails, and all of them come home.
fn survives(what: &str, break_it: impl Fn(&mut Zones), mend: impl Fn(&mut Zones)) {
    let limit = Duration::from_millis(500);
    let strategy = ZoneAffinity::new("near", LeastOutstanding::new());
    let mut zones = Zones::start(strategy, |builder| builder.response_timeout(limit));
    let client = zones.client.clone();
    let ((), failures) = Load::run(&client, THREADS, |load| {
        break_it(&mut zones);
        let start = Instant::now();
        wait_until("the own zone is out", || zones.own_zone_is_out());
        load.finish_calls();
        println!("{what}: all reads of the own zone were over after {:?}", start.elapsed());
        let before = zones.far_reads();
        load.flow(2000);
        assert!(zones.far_reads() >= before + 2000, "{before} and then {}", zones.far_reads());
        mend(&mut zones);
        let start = Instant::now();
        wait_until("the own zone is back", || zones.client.snapshot().nodes[1..=2].iter().all(|node| !node.ejected));
        // Gradually: a node that is back gets all of its share after 10 s.
        wait_until("all reads are at home", || {
            let before = zones.far_reads();
            load.flow(500);
            zones.far_reads() == before
        });
        println!("{what}: all of them were at home {:?} after the repair", start.elapsed());
    });
    assert!(failures.is_empty(), "{what}: {} reads failed: {}", failures.len(), failures[0]);
    assert_eq!(gets(zones.servers.master()), 0, "{what}: the other zone serves before the master does");
}

#[test]
fn the_other_zone_serves_while_the_own_is_killed() {
    let kill = |zones: &mut Zones| (0..2).for_each(|n| zones.servers.replica_mut(n).stop());
    survives("kill -9", kill, |zones| (0..2).for_each(|n| zones.servers.replica_mut(n).restart().unwrap()));
}

#[test]
fn the_other_zone_serves_while_the_own_is_silent() {
    let set = |fault| move |zones: &mut Zones| zones.proxies.iter().for_each(|proxy| proxy.set(fault).unwrap());
    survives("black hole", set(NetworkFault::BlackHole), set(NetworkFault::None));
}

/// What Redis does not know and Valkey tells if it is set up so: passes commands on to a replica, and adds its zone.
fn in_zone(zone: &'static str, replica: &Server) -> Fake {
    let url = replica.url();
    Fake::start("replica", move |mut stream| {
        let mut server = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let mut cmd = redis::Cmd::new();
            words.iter().for_each(|word| _ = cmd.arg(word));
            let mut reply: String = cmd.query(&mut server).unwrap();
            if words == ["INFO", "server"] {
                reply += &format!("availability_zone:{zone}\r\n");
            }
            if stream.write_all(format!("${}\r\n{reply}\r\n", reply.len()).as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn zones_are_learnt_from_the_servers() {
    let servers = set_with_key(2);
    let fakes = [in_zone("far", servers.replica(0)), in_zone("near", servers.replica(1))];
    let client = ReplicatedClient::builder()
        .master(servers.master().url())
        .replicas(fakes.iter().map(Fake::url))
        .strategy(ZoneAffinity::new("near", RoundRobin::new()))
        .response_timeout(LONG)
        .build()
        .unwrap();
    let zones = || client.snapshot().nodes.into_iter().map(|node| node.zone).collect::<Vec<_>>();
    wait_until("the zones are known", || zones() == [None, Some("far".to_owned()), Some("near".to_owned())]);
    servers.replicas().iter().for_each(|replica| replica.reset_counts().unwrap());
    read(&client, 100);
    assert_eq!([0, 1].map(|n| gets(servers.replica(n))), [0, 100]);
}

/// A read that ends when something is added to the stream of this number.
fn blocking_read(stream: usize) -> redis::Cmd {
    redis::cmd("XREAD").arg("BLOCK").arg(0).arg("STREAMS").arg(format!("s{stream}")).arg("$").to_owned()
}

fn end_blocking_read(client: &ReplicatedClient, stream: usize) {
    client.query::<()>(redis::cmd("XADD").arg(format!("s{stream}")).arg("*").arg("f").arg("v")).unwrap();
}

/// How many reads wait on each server.
fn blocked<const N: usize>(servers: &[Server]) -> [u32; N] {
    array::from_fn(|n| servers[n].info("clients", "blocked_clients").unwrap().unwrap().parse().unwrap())
}

/// Starts blocking reads one after the other, and runs `act` while they wait; ends those that are left.
fn while_reads_block<const N: usize>(
    client: &ReplicatedClient,
    servers: &[Server],
    reads: usize,
    act: impl FnOnce([u32; N]),
) {
    thread::scope(|scope| {
        for stream in 0..reads {
            scope.spawn(move || client.query::<redis::Value>(&blocking_read(stream)).unwrap());
            let now = || blocked::<N>(servers).iter().sum::<u32>() as usize;
            wait_until("the read is under way", || now() == stream + 1);
        }
        // The threads would wait for ever if `act` panicked: its failure is passed on when they have ended.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(blocked(servers))));
        (0..reads).for_each(|stream| end_blocking_read(client, stream));
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn a_saturated_zone_spills() {
    let strategy = ZoneAffinity::new("near", LeastOutstanding::new()).saturated_at(2);
    let zones = Zones::start(strategy, |builder| builder.response_timeout(LONG));
    let Zones { servers, client, .. } = &zones;
    while_reads_block(client, servers.replicas(), 4, |waiting| {
        assert_eq!(waiting, [2, 2, 0, 0]);
        (0..20).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        let spilt = zones.reads();
        assert_eq!((spilt[..2].iter().sum::<u64>(), zones.far_reads()), (0, 20));
        let in_flight = || client.snapshot().nodes[1..=2].iter().map(|node| node.in_flight).sum::<u32>();
        end_blocking_read(client, 0);
        wait_until("there is room", || in_flight() == 3);
        (0..20).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        assert_eq!((zones.reads()[..2].iter().sum::<u64>(), zones.far_reads()), (20, 20), "{:?}", zones.reads());
        assert!(zones.reads().contains(&0), "only one of the zone has room: {:?}", zones.reads());
    });
    assert_eq!(gets(servers.master()), 0);
}

/// A client of a master and two replicas of these weights that reads from all of them.
fn any_of(servers: &ReplicaSet, weights: [u32; 3], strategy: impl Strategy) -> ReplicatedClient {
    let mut nodes =
        servers.servers().iter().zip(weights).map(|(node, weight)| Endpoint::from(node.url()).weight(weight));
    let builder = ReplicatedClient::builder().master(nodes.next().unwrap()).replicas(nodes);
    let client = builder.read_from(ReadFrom::Any).strategy(strategy).response_timeout(LONG).build().unwrap();
    let replicas: Vec<_> = servers.replicas().iter().map(Server::addr).collect();
    wait_until_set_is(&client, &servers.master().addr(), &replicas);
    let serves = |node: &NodeSnapshot| !node.ejected && node.sync_state == SyncState::InSync;
    wait_until("all serve", || client.snapshot().nodes.iter().all(serves));
    client
}

#[test]
fn the_master_takes_part_by_its_weight_exactly() {
    let servers = set_with_key(2);
    let client = any_of(&servers, [1, 2, 3], WeightedRoundRobin::new());
    let shares = || -> [u64; 3] { array::from_fn(|n| gets(&servers.servers()[n])) };
    read(&client, 600);
    assert_eq!(shares(), [100, 200, 300]);
    client.set_weight(&servers.master().addr(), 5).unwrap();
    read(&client, 1000);
    assert_eq!(shares(), [600, 400, 600], "500 + 200 + 300 more");
}

#[test]
fn the_master_has_as_many_requests_in_flight_as_its_weight_says() {
    let servers = set_with_key(2);
    let client = any_of(&servers, [3, 1, 1], LeastOutstanding::new());
    while_reads_block(&client, servers.servers(), 10, |waiting| assert_eq!(waiting, [6, 2, 2]));
}

#[test]
fn explain_shows_what_the_strategy_sees() {
    let zones = Zones::start(PeakEwma::new(), |builder| builder.monitor_interval(Duration::ZERO));
    let Zones { servers, client, .. } = &zones;
    let seen = || client.explain(&redis::cmd("GET"));
    assert_eq!(seen().measures().len(), 4);
    for measures in seen().measures() {
        assert_eq!((measures.in_flight, measures.latency, measures.heartbeat), (0, None, None));
        assert_eq!((measures.weight, measures.share), (1, 1.0));
    }
    let ((), failures) = Load::run(client, THREADS, |_| {
        wait_until("each replica has answered", || seen().measures().iter().all(|measures| measures.latency.is_some()));
    });
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
    client.set_weight(seen().candidates().last().unwrap(), 7).unwrap();
    while_reads_block(client, servers.replicas(), 1, |waiting: [u32; 4]| {
        let seen = seen();
        let in_flight: Vec<u32> = seen.measures().iter().map(|measures| measures.in_flight).collect();
        assert_eq!(in_flight, waiting);
        let zones: Vec<_> = seen.measures().iter().filter_map(|measures| measures.zone.as_deref()).collect();
        assert_eq!(zones, ["near", "near", "far", "far"]);
        assert_eq!(seen.measures().iter().map(|measures| measures.weight).collect::<Vec<_>>(), [1, 1, 1, 7]);
        let said = seen.to_string();
        println!("{said}");
        for part in ["1 in flight, weight ", "0 in flight, weight 1, latency ", ", weight 7, latency ", ", zone far"] {
            assert!(said.contains(part), "{part} in: {said}");
        }
    });
    let monitored = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    let seen = || monitored.explain(&redis::cmd("GET"));
    wait_until("the monitor has asked", || seen().measures().iter().all(|measures| measures.heartbeat.is_some()));
    // Round-robin does not go by latencies: one answer of eight is timed, but not those on a new connection.
    (0..64).for_each(|_| assert_eq!(monitored.get::<String>("k").unwrap(), "v"));
    assert!(seen().measures().iter().all(|measures| measures.latency.is_some()), "{}", seen());
}

/// Reads before and after one of three replicas goes; its share is spread evenly over the two others.
fn stays_even(go: impl Fn(&mut ReplicaSet, &ReplicatedClient)) {
    let mut servers = set_with_key(3);
    let client = servers.client_builder().strategy(RoundRobin::new()).response_timeout(LONG).build().unwrap();
    read(&client, 1200);
    assert_eq!(servers.replicas().iter().map(gets).collect::<Vec<_>>(), [400, 400, 400]);
    go(&mut servers, &client);
    (0..1000).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    let [first, second] = [0, 2].map(|n| gets(servers.replica(n)));
    println!("{first} and {second} reads");
    assert!(first + second == 1800 && first.abs_diff(900) <= 1, "{first} and {second}");
    read(&client, 1000);
    assert_eq!([0, 2].map(|n| gets(servers.replica(n))), [first + 500, second + 500]);
    assert_eq!(gets(servers.master()), 0);
}

#[test]
fn round_robin_stays_even_when_a_replica_is_killed() {
    stays_even(|servers, _| servers.replica_mut(1).stop());
}

#[test]
fn round_robin_stays_even_when_a_replica_is_removed() {
    stays_even(|servers, client| client.remove_replica(&servers.replica(1).addr()).unwrap());
}

/// A process that keeps a processor busy until this is dropped.
struct Spinner(Child);

impl Spinner {
    fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn one_thread_reads_from_equal_replicas_evenly_on_a_busy_machine() {
    let servers = set_with_key(3);
    let client = servers.client_builder().response_timeout(LONG).build().unwrap();
    let _spinners = [Spinner::start(), Spinner::start()];
    let mut rounds = Vec::new();
    // Other tests run beside this one, and some keep the processors from one replica for seconds: that is no chance any more.
    while rounds.len() < 5 {
        let before: [u64; 3] = array::from_fn(|n| gets(servers.replica(n)));
        (0..30_000).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        let reads: [u64; 3] = array::from_fn(|n| gets(servers.replica(n)) - before[n]);
        assert_eq!(reads.iter().sum::<u64>(), 30_000);
        rounds.push(reads);
        if reads.iter().all(|reads| (8_400..=11_700).contains(reads)) {
            println!("{rounds:?} reads");
            return;
        }
    }
    panic!("{rounds:?}\n{}", client.snapshot());
}

#[test]
fn a_replica_that_is_four_times_slower_gets_clearly_less() {
    let servers = set_with_key(3);
    let proxies: [FaultProxy; 3] = array::from_fn(|n| FaultProxy::start(&servers.replica(n).addr()).unwrap());
    let builder =
        ReplicatedClient::builder().master(servers.master().url()).replicas(proxies.iter().map(FaultProxy::url));
    let client = builder.response_timeout(LONG).build().unwrap();
    for (proxy, millis) in proxies.iter().zip([2, 2, 8]) {
        proxy.set(NetworkFault::Delay(Duration::from_millis(millis))).unwrap();
    }
    let ((), failures) = Load::run(&client, THREADS, |load| load.flow(5000));
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
    let reads: [u64; 3] = array::from_fn(|n| gets(servers.replica(n)));
    println!("{reads:?} reads");
    assert!(reads[2] * 5 < reads.iter().sum::<u64>(), "{reads:?}");
    assert!(reads[2] > 0 && reads[..2].iter().all(|reads| *reads > 1500), "{reads:?}");
}
