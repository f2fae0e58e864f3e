//! The servers, and what happens to them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{Description, RefreshTrigger, Result, TopologyProvider, redis};

use super::history::{KEYS, REIGN, Reigns, STRAY, Values};
use super::player::Progress;
use crate::support::{follow_port, wait_until};

/// What happens to the servers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Event {
    /// The master stops taking writes, and a replica that has all of them takes its place.
    Clean,
    /// A replica takes its place that does not have the last of them.
    Lossy,
    /// The old master does not know, takes writes for a while, and keeps a replica.
    SplitBrain,
    /// The master is killed, a replica takes its place, and it comes back empty.
    Crash,
    /// A replica takes itself for the master for a while, and nobody follows it.
    Usurper,
    /// A replica throws its data away and gets all of it again.
    FullResync,
    /// A replica starts again, empty; the first server of all as a master.
    Restart,
}

impl Event {
    pub const FAILOVERS: [Self; 4] = [Self::Clean, Self::Lossy, Self::SplitBrain, Self::Crash];
    pub const OTHERS: [Self; 3] = [Self::Usurper, Self::FullResync, Self::Restart];

    pub fn is_failover(self) -> bool {
        Self::FAILOVERS.contains(&self)
    }
}

/// A provider that always knows who the master is.
#[derive(Clone, Debug, Default)]
pub struct Authority(Arc<(Mutex<Description>, Mutex<Option<RefreshTrigger>>)>);

impl Authority {
    fn name(&self, master: &Server, replicas: impl Iterator<Item = String>) {
        let described = Description::new().master(master.url());
        *self.0.0.lock().unwrap() = replicas.fold(described, |described, replica| described.replica(replica));
        if let Some(trigger) = &*self.0.1.lock().unwrap() {
            trigger.fire();
        }
    }
}

impl TopologyProvider for Authority {
    fn describe(&self, _: Instant) -> Result<Description> {
        Ok(self.0.0.lock().unwrap().clone())
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn watch(&self, trigger: RefreshTrigger) {
        *self.0.1.lock().unwrap() = Some(trigger);
    }
}

/// Four servers, each of which hears each other one through a proxy of its own.
pub struct Stage<'a> {
    pub servers: ReplicaSet,
    /// By follower, then by master.
    proxies: Vec<Vec<FaultProxy>>,
    master: usize,
    reign: u64,
    /// How often a stray was written to.
    strays: u64,
    pub authority: Authority,
    reigns: &'a Reigns,
    progress: &'a Progress,
    rng: StdRng,
}

impl<'a> Stage<'a> {
    pub fn set(reigns: &'a Reigns, progress: &'a Progress, rng: StdRng) -> Self {
        // Only writes move the offsets: what a position covers is what was read or written.
        let servers = ReplicaSet::setup().replicas(3).setting("repl-ping-replica-period", "3600").start().unwrap();
        let proxy = |master: &Server| FaultProxy::start(&master.addr()).unwrap();
        let proxies = servers.servers().iter().map(|_| servers.servers().iter().map(proxy).collect()).collect();
        let authority = Authority::default();
        let mut stage = Self { servers, proxies, master: 0, reign: 0, strays: 0, authority, reigns, progress, rng };
        stage.proclaim(0, Values::default());
        (1..4).for_each(|server| stage.follow(server, 0));
        stage.name();
        stage.settle();
        stage
    }

    fn server(&self, server: usize) -> &Server {
        &self.servers.servers()[server]
    }

    fn server_mut(&mut self, server: usize) -> &mut Server {
        if server == 0 { self.servers.master_mut() } else { self.servers.replica_mut(server - 1) }
    }

    /// All but the master, in random order.
    fn others(&mut self) -> Vec<usize> {
        let mut others: Vec<usize> = (0..4).filter(|server| *server != self.master).collect();
        others.shuffle(&mut self.rng);
        others
    }

    fn follow(&self, server: usize, master: usize) {
        follow_port(self.server(server), self.proxies[server][master].addr().port().unwrap());
    }

    fn link(&self, server: usize, master: usize, fault: NetworkFault) {
        self.proxies[server][master].set(fault).unwrap();
    }

    fn name(&self) {
        let replicas = (0..4).filter(|server| *server != self.master).map(|server| self.server(server).url());
        self.authority.name(self.server(self.master), replicas);
    }

    /// Writes the number of the next reign.
    fn proclaim(&mut self, server: usize, at_start: Values) {
        self.reign += 1;
        self.reigns.begin(self.reign, at_start);
        redis::Cmd::set(KEYS[REIGN], self.reign).exec(&mut self.server(server).connection().unwrap()).unwrap();
    }

    /// Makes a server a master; what it had then and the number of its reign are all in one piece.
    fn promote(&mut self, server: usize) {
        self.reign += 1;
        let mut steps = redis::pipe();
        steps.cmd("MULTI").ignore().cmd("REPLICAOF").arg("NO").arg("ONE").ignore();
        steps.cmd("MGET").arg(&KEYS).ignore().cmd("EXEC").set(KEYS[REIGN], self.reign).ignore();
        let mut connection = self.server(server).connection().unwrap();
        let ((_, had),): ((String, Vec<Option<u64>>),) = steps.query(&mut connection).unwrap();
        self.reigns.begin(self.reign, std::array::from_fn(|key| had[key].unwrap_or(0)));
    }

    /// Lets something happen to the servers.
    pub fn act(&mut self, event: Event) {
        self.change_weather();
        match event {
            Event::Clean => self.fail_over_cleanly(),
            Event::Lossy => self.fail_over_with_losses(),
            Event::SplitBrain => self.split(),
            Event::Crash => self.crash(),
            Event::Usurper => self.usurp(),
            Event::FullResync => {
                let replica = self.others()[0];
                // One that is about to become a replica is none yet.
                self.settle();
                self.server(replica).force_full_resync().unwrap();
            }
            Event::Restart => {
                let (replica, master) = (self.others()[0], self.master);
                let server =
                    if replica == 0 { self.servers.master_mut() } else { self.servers.replica_mut(replica - 1) };
                server.restart().unwrap();
                self.follow(replica, master);
            }
        }
    }

    /// Some links are slower than others.
    fn change_weather(&mut self) {
        for server in 0..4 {
            for master in 0..4 {
                let delay = Duration::from_millis(self.rng.random_range(1..20));
                let fault = if self.rng.random() { NetworkFault::None } else { NetworkFault::Delay(delay) };
                self.link(server, master, fault);
            }
        }
    }

    fn fail_over_cleanly(&mut self) {
        let (old, others) = (self.master, self.heirs());
        self.server(old).pause_writes(Duration::from_secs(60)).unwrap();
        let offset = |server: usize, field: &str| {
            self.server(server).info("replication", field).unwrap().unwrap().parse::<u64>().unwrap()
        };
        wait_until("the heir has everything", || {
            offset(others[0], "slave_repl_offset") >= offset(old, "master_repl_offset")
        });
        self.promote(others[0]);
        self.take_over(others[0], &others[1..]);
        if self.rng.random() {
            // Somebody may still take the old one for the master, which has nothing of the new reign.
            self.flow(1, 40);
        }
        self.follow(old, others[0]);
        // Not before: it would take writes again. Not later: it would not take those of its new master.
        self.server(old).unpause().unwrap();
    }

    fn fail_over_with_losses(&mut self) {
        let (old, others) = (self.master, self.heirs());
        others.iter().for_each(|server| self.link(*server, old, NetworkFault::BlackHole));
        let writes = self.rng.random_range(5..40);
        self.flow(writes, 40);
        self.promote(others[0]);
        self.take_over(others[0], &others[1..]);
        if self.rng.random() {
            self.flow(1, 40);
        }
        self.follow(old, self.master);
    }

    fn split(&mut self) {
        let (old, others) = (self.master, self.heirs());
        self.promote(others[0]);
        self.take_over(others[0], &others[1..2]);
        let mut stray = self.server(old).connection().unwrap();
        for _ in 0..30 {
            self.strays += 1;
            redis::Cmd::set(KEYS[STRAY], self.strays).exec(&mut stray).unwrap();
            self.flow(1, 4);
        }
        [old, others[2]].into_iter().for_each(|server| self.follow(server, self.master));
    }

    fn crash(&mut self) {
        let (old, others) = (self.master, self.heirs());
        self.server_mut(old).stop();
        self.promote(others[0]);
        self.take_over(others[0], &others[1..]);
        if self.rng.random() {
            self.flow(1, 40);
        }
        self.server_mut(old).restart().unwrap();
        self.follow(old, self.master);
    }

    fn usurp(&mut self) {
        let usurper = self.heirs()[0];
        self.promote(usurper);
        let reads = self.rng.random_range(20..200);
        self.flow(1, reads);
        self.follow(usurper, self.master);
    }

    fn take_over(&mut self, heir: usize, followers: &[usize]) {
        self.master = heir;
        self.name();
        followers.iter().for_each(|server| self.follow(*server, heir));
    }

    /// All but the master, in random order; the first one follows it.
    fn heirs(&mut self) -> Vec<usize> {
        let mut others = self.others();
        let mut heir = None;
        wait_until("somebody follows", || {
            heir = others.iter().position(|server| self.follows(*server));
            heir.is_some()
        });
        others.swap(0, heir.unwrap_or(0));
        others
    }

    fn follows(&self, server: usize) -> bool {
        let field = |server: usize, field: &str| self.server(server).info("replication", field).unwrap();
        field(server, "master_link_status").as_deref() == Some("up")
            && field(server, "master_sync_in_progress").as_deref() == Some("0")
            && field(server, "master_replid") == field(self.master, "master_replid")
    }

    /// Waits until so many more writes and reads of sessions have succeeded.
    pub fn flow(&self, writes: u64, reads: u64) {
        let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let (writes, reads) = (count(&self.progress.written) + writes, count(&self.progress.accepted) + reads);
        wait_until("calls flow", || count(&self.progress.written) >= writes && count(&self.progress.accepted) >= reads);
    }

    /// Waits until everybody follows the master.
    pub fn settle(&self) {
        let all = || (0..4).filter(|server| *server != self.master).all(|server| self.follows(server));
        wait_until("everybody follows", all);
    }
}
