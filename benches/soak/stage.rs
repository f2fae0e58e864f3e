//! The servers, and what happens to them.
//!
//! Nothing is ever lost: a master is stopped and goes on, but is never killed, and every failover waits for a replica that
//! has all that the old master acknowledged.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use redis_replicated::redis;
use redis_replicated::testing::{ReplicaSet, Server};

use super::plan::NAME;

/// How long the servers may take until every replica follows the master.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// How long a replica that is to be the master may take until it has everything.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(10);

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// One connection of the client is closed by its server.
    KillOne,
    /// All connections of the client to one server are, those of its monitor too.
    KillAll,
    StopReplica,
    StopMaster,
    /// A replica is killed, and starts again with nothing.
    Restart,
    /// By `FAILOVER`.
    Commanded,
    /// By `REPLICAOF`, while the old master holds writes back.
    ByHand,
}

const FAULTS: [Fault; 14] = [
    Fault::KillOne,
    Fault::KillOne,
    Fault::KillOne,
    Fault::KillAll,
    Fault::KillAll,
    Fault::StopReplica,
    Fault::StopReplica,
    Fault::StopMaster,
    Fault::StopMaster,
    Fault::Restart,
    Fault::Restart,
    Fault::Commanded,
    Fault::ByHand,
    Fault::ByHand,
];

/// A master with two replicas.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) servers: ReplicaSet,
    master: usize,
    rng: StdRng,
    /// How often each thing happened.
    pub(super) counts: BTreeMap<String, u64>,
}

impl Stage {
    pub(super) fn start(rng: StdRng) -> Self {
        Self { servers: ReplicaSet::start(2).unwrap(), master: 0, rng, counts: BTreeMap::new() }
    }

    pub(super) fn master(&self) -> &Server {
        self.server(self.master)
    }

    /// Returns what happens next.
    pub(super) fn draw(&mut self) -> Fault {
        FAULTS[self.rng.random_range(0..FAULTS.len())]
    }

    /// Lets it happen, and nothing else for a while.
    pub(super) fn act(&mut self, fault: Fault) {
        let happened = match fault {
            Fault::KillOne => self.kill_one(),
            Fault::KillAll => self.kill_all(),
            Fault::StopReplica => {
                let replica = self.replicas()[0];
                self.stop_for_a_while(replica);
                true
            }
            Fault::StopMaster => {
                self.stop_for_a_while(self.master);
                true
            }
            Fault::Restart => {
                self.restart();
                true
            }
            Fault::Commanded => self.fail_over_by_command(),
            Fault::ByHand => self.fail_over_by_hand(),
        };
        let name = if happened { format!("{fault:?}") } else { format!("{fault:?}, in vain") };
        *self.counts.entry(name).or_default() += 1;
        // The monitor asks every second. A strict session is told that it does not know of a loss where the client never saw
        // one of the masters between, or saw the present one last while it loaded its data as a replica.
        let has_changed = matches!(fault, Fault::Restart | Fault::Commanded | Fault::ByHand);
        self.sleep(if has_changed { 1500..2500 } else { 200..2000 });
    }

    /// Waits until every replica follows the master.
    pub(super) fn settle(&self) {
        let follows = |replica: usize| {
            self.field(replica, "master_link_status").as_deref() == Some("up")
                && self.field(replica, "master_sync_in_progress").as_deref() == Some("0")
                && self.field(replica, "master_replid") == self.field(self.master, "master_replid")
        };
        let all = || (0..3).filter(|server| *server != self.master).all(follows);
        assert!(wait_within(SETTLED_WITHIN, all), "not every replica follows the master");
    }

    fn server(&self, server: usize) -> &Server {
        &self.servers.servers()[server]
    }

    fn server_mut(&mut self, server: usize) -> &mut Server {
        if server == 0 { self.servers.master_mut() } else { self.servers.replica_mut(server - 1) }
    }

    /// Returns the replicas, in random order.
    fn replicas(&mut self) -> [usize; 2] {
        let [a, b] = [1, 2].map(|other| (self.master + other) % 3);
        if self.rng.random() { [a, b] } else { [b, a] }
    }

    fn sleep(&mut self, millis: std::ops::Range<u64>) {
        // How long a fault lasts, and how long there is none.
        thread::sleep(Duration::from_millis(self.rng.random_range(millis)));
    }

    fn kill_one(&mut self) -> bool {
        let server = self.rng.random_range(0..3);
        let clients = self.connections_to(server);
        if clients.is_empty() {
            return false;
        }
        let client = &clients[self.rng.random_range(0..clients.len())];
        let id = client.strip_prefix("id=").and_then(|line| line.split(' ').next());
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id);
        kill.query::<u64>(&mut self.server(server).connection().unwrap()).unwrap() > 0
    }

    /// Returns what a server says of each connection of the client.
    fn connections_to(&self, server: usize) -> Vec<String> {
        let mut list = redis::cmd("CLIENT");
        let all: String = list.arg("LIST").query(&mut self.server(server).connection().unwrap()).unwrap();
        let own = format!(" name={NAME} ");
        all.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect()
    }

    /// Returns what all servers say of the connections of the client.
    pub(super) fn connections(&self) -> Vec<String> {
        (0..3).flat_map(|server| self.connections_to(server)).collect()
    }

    fn kill_all(&mut self) -> bool {
        let server = self.rng.random_range(0..3);
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal");
        kill.query::<u64>(&mut self.server(server).connection().unwrap()).unwrap() > 0
    }

    fn stop_for_a_while(&mut self, server: usize) {
        self.server(server).pause().unwrap();
        self.sleep(200..3000);
        self.server(server).resume().unwrap();
    }

    fn restart(&mut self) {
        let replica = self.replicas()[0];
        self.server_mut(replica).stop();
        self.sleep(100..2000);
        // A connection of this machine may have taken the port meanwhile.
        let mut started = Ok(());
        wait_within(Duration::from_secs(20), || {
            started = self.server_mut(replica).restart();
            started.is_ok()
        });
        started.unwrap();
        self.follow(replica, self.master).unwrap();
        self.settle();
    }

    fn fail_over_by_command(&mut self) -> bool {
        let heir = self.replicas()[0];
        let port = self.port(heir);
        let mut command = redis::cmd("FAILOVER");
        command.arg("TO").arg("127.0.0.1").arg(port).arg("TIMEOUT").arg(5000);
        command.exec(&mut self.master().connection().unwrap()).unwrap();
        // When the time is over, the old one goes on.
        let has_ended = || self.field(self.master, "master_failover_state").as_deref() == Some("no-failover");
        assert!(wait_within(SETTLED_WITHIN, has_ended), "a failover does not end");
        let is_master = self.field(heir, "role").as_deref() == Some("master");
        if is_master {
            self.take_over(heir);
        }
        self.settle();
        is_master
    }

    fn fail_over_by_hand(&mut self) -> bool {
        let (old, heir) = (self.master, self.replicas()[0]);
        self.server(old).pause_writes(Duration::from_secs(300)).unwrap();
        let has_all = || self.offset(heir, "slave_repl_offset") >= self.offset(old, "master_repl_offset");
        let is_master = wait_within(CAUGHT_UP_WITHIN, has_all);
        if is_master {
            redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut self.server(heir).connection().unwrap()).unwrap();
            self.take_over(heir);
        }
        // Not before the old one is a replica: it would take writes again.
        self.server(old).unpause().unwrap();
        self.settle();
        is_master
    }

    /// Lets everybody follow the new master.
    fn take_over(&mut self, heir: usize) {
        self.master = heir;
        for replica in self.replicas() {
            self.follow(replica, heir).unwrap();
        }
    }

    fn follow(&self, replica: usize, master: usize) -> io::Result<()> {
        let port = self.port(master);
        let mut command = redis::cmd("REPLICAOF");
        command.arg("127.0.0.1").arg(port).exec(&mut self.server(replica).connection()?).map_err(io::Error::other)
    }

    fn port(&self, server: usize) -> u16 {
        self.server(server).addr().port().unwrap()
    }

    /// Returns a field of what a server says of itself; nothing while it does not answer.
    fn field(&self, server: usize, name: &str) -> Option<String> {
        self.server(server).info("replication", name).ok().flatten()
    }

    fn offset(&self, server: usize, name: &str) -> u64 {
        self.field(server, name).and_then(|offset| offset.parse().ok()).unwrap_or(0)
    }
}

/// Waits until the condition holds; returns whether it did in time.
fn wait_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}
