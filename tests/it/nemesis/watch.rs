//! Servers that Sentinels watch: who is the master, they decide.
//!
//! What a promoted server had must be known before anybody writes there. So all servers but the master refuse writes for want of
//! replicas, also as masters, until their reign is recorded.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use redis_replicated::redis;
use redis_replicated::testing::{Sentinels, Server};

use super::event::Event;
use super::history::{KEYS, REIGN};
use super::stage::{Stage, values};
use crate::support::{wait_until, wait_within};

/// More replicas than there are.
const TOO_MANY: &str = "10";

/// After so many milliseconds Sentinels take the master for dead.
const DOWN_AFTER: u64 = 2_000;
/// Sentinels begin no failover within twice this time after the last one.
const FAILOVER_TIMEOUT: u64 = 3_000;
/// A failover may fail because Sentinels know too little about the replicas: then it begins anew.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stage, and the Sentinels before it.
pub struct Watch<'a> {
    pub stage: Stage<'a>,
    pub sentinels: Sentinels,
}

impl<'a> Watch<'a> {
    pub fn over(stage: Stage<'a>) -> Self {
        let sentinels = Sentinels::start(&stage.servers, 3).unwrap();
        for sentinel in sentinels.sentinels() {
            let mut set = redis::cmd("SENTINEL");
            set.arg("SET").arg("main").arg("down-after-milliseconds").arg(DOWN_AFTER);
            set.arg("failover-timeout").arg(FAILOVER_TIMEOUT);
            set.exec(&mut sentinel.connection().unwrap()).unwrap();
        }
        let watch = Self { stage, sentinels };
        watch.arm();
        watch
    }

    /// Lets something happen to the servers.
    pub fn act(&mut self, event: Event) {
        let old = self.stage.master;
        match event {
            Event::Commanded => self.command(),
            Event::Killed => self.kill(),
            Event::Hung => self.hang(),
            Event::Stalled => self.stall(),
            Event::Restart => {
                let replica = self.stage.others()[0];
                self.stage.restart_blank(replica);
            }
            event => self.stage.act(event),
        }
        if self.stage.master != old && self.stage.rng.random() {
            self.stage.progress.flow(1, 40);
        }
        self.gather();
    }

    fn command(&mut self) {
        self.sentinels.fail_over().unwrap();
        self.wait_for_heir();
        // Sentinels leave the old one alone for a while.
        let lingers = self.stage.rng.random_range(0..100);
        self.stage.progress.flow(lingers / 10, lingers);
    }

    fn kill(&mut self) {
        let old = self.stage.master;
        let saved = self.stage.rng.random::<bool>().then(|| self.stage.save_master());
        self.stage.progress.flow(10, 20);
        self.begin_outage();
        self.stage.server_mut(old).stop();
        let others = self.stage.others();
        let is_cut = |server: &usize| self.stage.field(*server, "master_link_status").as_deref() == Some("down");
        wait_until("the links are cut", || others.iter().all(is_cut));
        self.stage.progress.outages.cut();
        self.wait_for_heir();
        self.end_outage();
        match saved {
            Some(snapshot) => self.stage.restart_from(old, snapshot),
            None => self.stage.restart_blank(old),
        }
    }

    /// Until somebody else is promoted.
    fn hang(&mut self) {
        let old = self.stage.master;
        self.begin_outage();
        self.stage.server(old).pause().unwrap();
        self.wait_for_heir();
        self.end_outage();
        self.stage.server(old).resume().unwrap();
    }

    /// So briefly that Sentinels promote nobody.
    fn stall(&mut self) {
        self.begin_outage();
        self.stage.server(self.stage.master).pause().unwrap();
        // Shorter than what makes Sentinels fail over, and drawn at random.
        thread::sleep(Duration::from_millis(self.stage.rng.random_range(300..600)));
        self.stage.server(self.stage.master).resume().unwrap();
        self.end_outage();
    }

    fn begin_outage(&mut self) {
        let quiet = self.stage.rng.random_ratio(3, 4);
        self.stage.progress.set_quiet(quiet);
        self.stage.progress.outages.begin();
    }

    fn end_outage(&self) {
        self.stage.progress.outages.end();
        self.stage.progress.set_quiet(false);
    }

    /// All but the master refuse writes.
    fn arm(&self) {
        (0..4).filter(|server| *server != self.stage.master).for_each(|server| self.refuse_writes(server));
    }

    fn refuse_writes(&self, server: usize) {
        let mut setting = redis::cmd("CONFIG");
        setting.arg("SET").arg("min-replicas-to-write").arg(TOO_MANY);
        // Sentinels close connections.
        wait_until("it refuses writes", || {
            self.stage.server(server).connection().is_ok_and(|mut server| setting.exec(&mut server).is_ok())
        });
    }

    fn wait_for_heir(&mut self) {
        wait_within(PATIENCE, "Sentinels have promoted somebody", || self.notice());
    }

    /// Looks whether Sentinels have promoted somebody, and records the reign.
    fn notice(&mut self) -> bool {
        let refuses = |server: usize| {
            let mut setting = redis::cmd("CONFIG");
            let setting = setting.arg("GET").arg("min-replicas-to-write");
            let mut connection = self.stage.server(server).connection().unwrap();
            setting.query::<(String, String)>(&mut connection).is_ok_and(|(_, count)| count == TOO_MANY)
        };
        let others: Vec<usize> = (0..4).filter(|server| *server != self.stage.master).collect();
        let is_master = |server: &usize| self.stage.field(*server, "role").as_deref() == Some("master");
        let heir = others.into_iter().filter(is_master).find(|server| refuses(*server));
        let Some(heir) = heir else { return false };
        let mut steps = redis::pipe();
        let reign = self.stage.reign + 1;
        steps.mget(&KEYS).cmd("CONFIG").arg("SET").arg("min-replicas-to-write").arg(0).ignore();
        steps.set(KEYS[REIGN], reign).ignore();
        let mut connection = self.stage.server(heir).connection().unwrap();
        let (had,): (Vec<Option<u64>>,) = steps.query(&mut connection).unwrap();
        self.stage.reign = reign;
        self.stage.reigns.begin_late(reign, values(&had));
        self.stage.master = heir;
        self.stage.name();
        true
    }

    /// Everybody follows the master. Sentinels would see to that too, only later.
    fn gather(&mut self) {
        self.notice();
        for server in self.stage.others() {
            self.stage.follow(server, self.stage.master);
            self.refuse_writes(server);
        }
    }

    /// Waits until everybody follows the master, whoever that is, and all Sentinels know that: one that does not may send
    /// everybody elsewhere, and finds no failover that is asked of it.
    pub fn settle(&mut self) {
        let mut gathered = Instant::now();
        wait_within(PATIENCE, "everybody follows", || {
            if self.notice() || gathered.elapsed() > Duration::from_secs(2) {
                self.gather();
                gathered = Instant::now();
            }
            self.stage.is_settled() && self.sentinels.sentinels().iter().all(|sentinel| self.is_content(sentinel))
        });
    }

    /// Returns whether a Sentinel names the master, and sees nothing wrong with it.
    fn is_content(&self, sentinel: &Server) -> bool {
        let asked = sentinel.connection().and_then(|mut connection| {
            let said = redis::cmd("SENTINEL").arg("MASTER").arg("main").query(&mut connection);
            said.map_err(std::io::Error::other)
        });
        let said: HashMap<String, String> = asked.unwrap_or_default();
        let is = |name: &str, value: &str| said.get(name).is_some_and(|said| said == value);
        let port = self.stage.server(self.stage.master).addr().port().unwrap();
        is("port", &port.to_string()) && is("flags", "master")
    }
}
