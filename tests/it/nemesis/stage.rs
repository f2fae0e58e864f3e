//! The servers, and the steps of which everything is made that happens to them.

use std::path::PathBuf;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use redis_replicated::redis;
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};

use super::history::{KEYS, REIGN, Reigns, Values};
use super::progress::Progress;
use super::snapshot::{Snapshot, place};
use crate::support::{Authority, Fake, broken_master, follow_port, unloadable_master, wait_until, wait_within};

/// A link is there within this time: a replica that met a server which hangs gives up after `repl-timeout`, 60 s.
pub const LINKED_WITHIN: Duration = Duration::from_secs(90);

/// How replicas may load what they get in a full resync; not every server knows all of them.
const LOADS: [&str; 4] = ["disabled", "swapdb", "flushdb", "flush-before-load"];

/// Four servers, each of which hears each other one through a proxy of its own.
pub struct Stage<'a> {
    pub servers: ReplicaSet,
    /// How replicas may load what they get in a full resync: the ways that these servers know.
    pub loads: Vec<&'static str>,
    /// How often a replica was emptied.
    pub emptied: u64,
    /// By follower, then by master; none where the servers hear each other without.
    proxies: Vec<Vec<FaultProxy>>,
    /// Where each server keeps its snapshots.
    places: Vec<PathBuf>,
    pub master: usize,
    pub reign: u64,
    /// How often a stray was written to.
    pub strays: u64,
    pub authority: Authority,
    pub reigns: &'a Reigns,
    pub progress: &'a Progress,
    pub rng: StdRng,
    /// A master of another history, whose data is another one.
    pub stranger: ReplicaSet,
    /// Masters whose data nobody can load: a file that servers refuse, and a stream that breaks off.
    pub unloadable: Fake,
    pub broken: Fake,
    /// An outage that was not given a length takes at most so long.
    pub longest_outage: Duration,
}

impl<'a> Stage<'a> {
    pub fn set(reigns: &'a Reigns, progress: &'a Progress, longest_outage: Duration, rng: StdRng) -> Self {
        let mut stage = Self::set_bare(reigns, progress, longest_outage, rng);
        let servers = stage.servers.servers();
        let proxy = |master: &Server| FaultProxy::start(&master.addr()).unwrap();
        stage.proxies = servers.iter().map(|_| servers.iter().map(proxy).collect()).collect();
        (1..4).for_each(|server| stage.follow(server, 0));
        stage.settle();
        stage
    }

    /// The same without proxies.
    pub fn set_bare(reigns: &'a Reigns, progress: &'a Progress, longest_outage: Duration, rng: StdRng) -> Self {
        let servers = start_servers();
        let loads = loads_of(servers.master());
        let places = servers.servers().iter().map(place).collect();
        let mut stage = Self {
            servers,
            loads,
            emptied: 0,
            proxies: Vec::new(),
            places,
            master: 0,
            reign: 0,
            strays: 0,
            authority: Authority::default(),
            reigns,
            progress,
            rng,
            stranger: ReplicaSet::start(0).unwrap(),
            unloadable: unloadable_master(),
            broken: broken_master(),
            longest_outage,
        };
        let number = stage.next_reign(Values::default());
        redis::Cmd::set(KEYS[REIGN], number).exec(&mut stage.stranger.master().connection().unwrap()).unwrap();
        let number = stage.next_reign(Values::default());
        redis::Cmd::set(KEYS[REIGN], number).exec(&mut stage.server(0).connection().unwrap()).unwrap();
        stage.name();
        stage.settle();
        stage
    }

    pub fn server(&self, server: usize) -> &Server {
        &self.servers.servers()[server]
    }

    pub fn server_mut(&mut self, server: usize) -> &mut Server {
        if server == 0 { self.servers.master_mut() } else { self.servers.replica_mut(server - 1) }
    }

    /// All but the master, in random order.
    pub fn others(&mut self) -> Vec<usize> {
        let mut others: Vec<usize> = (0..4).filter(|server| *server != self.master).collect();
        others.shuffle(&mut self.rng);
        others
    }

    pub fn follow(&self, server: usize, master: usize) {
        follow_port(self.server(server), self.port(server, master));
    }

    /// Returns where a server hears another one.
    pub fn port(&self, server: usize, master: usize) -> u16 {
        let proxy = self.proxies.get(server).map(|proxies| proxies[master].addr());
        proxy.unwrap_or_else(|| self.server(master).addr()).port().unwrap()
    }

    pub fn link(&self, server: usize, master: usize, fault: NetworkFault) {
        if let Some(proxies) = self.proxies.get(server) {
            proxies[master].set(fault).unwrap();
        }
    }

    /// From now on a server reaches none of the others.
    pub fn cut_off(&self, server: usize) {
        (0..4).for_each(|master| self.link(server, master, NetworkFault::Refuse));
    }

    pub fn name(&self) {
        let replicas = (0..4).filter(|server| *server != self.master).map(|server| self.server(server).url());
        self.authority.name(self.server(self.master), replicas);
    }

    /// Some links are slower than others; all are there.
    pub fn change_weather(&mut self) {
        for server in 0..4 {
            for master in 0..4 {
                let delay = Duration::from_millis(self.rng.random_range(1..20));
                let fault = if self.rng.random() { NetworkFault::None } else { NetworkFault::Delay(delay) };
                self.link(server, master, fault);
            }
        }
    }

    /// Draws how each server loads what it gets in its next full resync.
    pub fn draw_loads(&mut self) {
        for server in 0..4 {
            let load = self.loads[self.rng.random_range(0..self.loads.len())];
            self.set_load(server, load);
        }
    }

    /// Where Sentinels close connections, it may stay as it was.
    pub fn set_load(&self, server: usize, load: &str) -> bool {
        set_load(self.server(server), load)
    }

    /// Records that a reign begins with these values; returns its number.
    pub fn next_reign(&mut self, at_start: Values) -> u64 {
        self.reign += 1;
        self.reigns.begin(self.reign, at_start);
        self.reign
    }

    /// Makes a server a master; what it had then and the number of its reign are all in one piece.
    pub fn promote(&mut self, server: usize) {
        self.reign += 1;
        let mut steps = redis::pipe();
        steps.cmd("MULTI").ignore().cmd("REPLICAOF").arg("NO").arg("ONE").ignore();
        steps.cmd("MGET").arg(&KEYS).ignore().cmd("EXEC").set(KEYS[REIGN], self.reign).ignore();
        let mut connection = self.server(server).connection().unwrap();
        let ((_, had),): ((String, Vec<Option<u64>>),) = steps.query(&mut connection).unwrap();
        self.reigns.begin(self.reign, values(&had));
    }

    /// Starts a server again that has nothing but the number of a new reign; the first of all as a master.
    pub fn restart_blank(&mut self, server: usize) {
        let number = self.next_reign(Values::default());
        self.restart_from(server, Snapshot::of_reign(number));
    }

    /// Starts a server again with what was saved. All but the first one are replicas that reach nobody at first.
    pub fn restart_from(&mut self, server: usize, snapshot: Snapshot) {
        // All others begin as replicas of the first one, without a proxy between.
        let holds = server != 0 && self.server(0).runs() && !self.proxies.is_empty();
        if holds {
            self.server(0).pause().unwrap();
        }
        let place = self.places[server].clone();
        snapshot.load(&place, || self.server_mut(server).restart().unwrap());
        if server != 0 {
            self.cut_off(server);
            self.follow(server, self.master);
        }
        if holds {
            self.server(0).resume().unwrap();
        }
    }

    /// Has a replica save what it holds.
    pub fn save_replica(&self, server: usize) -> Snapshot {
        self.wait_for_child(server);
        redis::cmd("SAVE").exec(&mut self.server(server).connection().unwrap()).unwrap();
        Snapshot::put_aside(&self.places[server])
    }

    /// Has the master save what it holds, between two reigns: in the first of them nothing else is ever written. So one who
    /// goes on from there is known by its reign at once.
    pub fn save_master(&mut self) -> Snapshot {
        self.wait_for_child(self.master);
        let (saved, next) = (self.reign + 1, self.reign + 2);
        self.reign = next;
        let mut steps = redis::pipe();
        steps.mget(&KEYS).set(KEYS[REIGN], saved).ignore().cmd("SAVE").ignore();
        steps.mget(&KEYS).set(KEYS[REIGN], next).ignore();
        let mut connection = self.server(self.master).connection().unwrap();
        let (before, behind): (Vec<Option<u64>>, Vec<Option<u64>>) = steps.query(&mut connection).unwrap();
        assert_eq!(before[REIGN + 1..], behind[REIGN + 1..], "somebody wrote in between");
        self.reigns.begin(saved, values(&before));
        self.reigns.begin(next, values(&behind));
        Snapshot::put_aside(&self.places[self.master])
    }

    /// Waits for the process that has sent everything to a replica: while there is one, nobody saves.
    fn wait_for_child(&self, server: usize) {
        let is_saving = || self.server(server).info("persistence", "rdb_bgsave_in_progress").unwrap();
        wait_until("nobody is sent everything", || is_saving().as_deref() == Some("0"));
    }

    pub fn take_over(&mut self, heir: usize, followers: &[usize]) {
        self.master = heir;
        self.name();
        followers.iter().for_each(|server| self.follow(*server, heir));
    }

    /// All but the master, in random order; the first one follows it.
    pub fn heirs(&mut self) -> Vec<usize> {
        let mut others = self.others();
        let mut heir = None;
        wait_within(LINKED_WITHIN, "somebody follows", || {
            heir = others.iter().position(|server| self.follows(*server));
            heir.is_some()
        });
        others.swap(0, heir.unwrap_or(0));
        others
    }

    /// Returns a field of what a server says of itself; nothing while it is being told its new role.
    pub fn field(&self, server: usize, name: &str) -> Option<String> {
        self.server(server).info("replication", name).ok().flatten()
    }

    pub fn offset(&self, server: usize, name: &str) -> u64 {
        self.field(server, name).and_then(|offset| offset.parse().ok()).unwrap_or(0)
    }

    pub fn is_linked(&self, server: usize) -> bool {
        self.field(server, "master_link_status").as_deref() == Some("up")
            && self.field(server, "master_sync_in_progress").as_deref() == Some("0")
    }

    fn follows(&self, server: usize) -> bool {
        self.is_linked(server) && self.field(server, "master_replid") == self.field(self.master, "master_replid")
    }

    /// Waits until a replica has all that the master has now.
    pub fn catch_up(&self, server: usize) {
        let offset = self.offset(self.master, "master_repl_offset");
        wait_within(LINKED_WITHIN, "a replica has everything", || {
            self.follows(server) && self.offset(server, "slave_repl_offset") >= offset
        });
    }

    /// Waits until everybody follows the master.
    pub fn settle(&self) {
        wait_within(LINKED_WITHIN, "everybody follows", || self.is_settled());
    }

    pub fn is_settled(&self) -> bool {
        (0..4).filter(|server| *server != self.master).all(|server| self.follows(server))
    }
}

/// Starts a master with three replicas.
fn start_servers() -> ReplicaSet {
    // Only writes move the offsets: what a position covers is what was read or written.
    ReplicaSet::setup().replicas(3).setting("repl-ping-replica-period", "3600").start().unwrap()
}

/// Returns the ways to load that a server knows.
fn loads_of(server: &Server) -> Vec<&'static str> {
    let loads: Vec<_> = LOADS.into_iter().filter(|load| set_load(server, load)).collect();
    println!("repl-diskless-load: {loads:?}");
    loads
}

fn set_load(server: &Server, load: &str) -> bool {
    let mut setting = redis::cmd("CONFIG");
    setting.arg("SET").arg("repl-diskless-load").arg(load);
    server.connection().is_ok_and(|mut connection| setting.exec(&mut connection).is_ok())
}

pub fn values(had: &[Option<u64>]) -> Values {
    std::array::from_fn(|key| had[key].unwrap_or(0))
}
