//! Trials: a replica that is not what it seems, a master that goes away, and what comes of it.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use redis_replicated::redis;
use redis_replicated::testing::NetworkFault;

use super::event::{End, Outage, Trap, Trial};
use super::snapshot::Snapshot;
use super::stage::{LINKED_WITHIN, Stage};
use crate::support::{follow_port, wait_until, wait_within};

const SHORTEST_OUTAGE: Duration = Duration::from_millis(300);

/// What was saved before a trial.
#[derive(Debug, Default)]
struct Saved {
    by_master: Option<Snapshot>,
    by_replica: Option<Snapshot>,
}

impl Stage<'_> {
    /// Makes one replica a trap, takes the master away for a while, and lets somebody be the master afterwards.
    pub fn try_out(&mut self, trial: Trial) {
        self.settle();
        let victim = self.victim(trial.trap);
        let saved = self.save(trial, victim);
        let victim = if trial.trap == Trap::Diverged { self.depose() } else { victim };
        if trial.trap == Trap::Chained {
            self.chain(victim);
        }
        self.progress.wait_for_naive_writes(6);
        // What an emptied one had, it had all of that, and claims it.
        let is_emptied = matches!(trial.trap, Trap::Emptied | Trap::EmptiedTwice);
        self.progress.set_quiet(is_emptied || self.rng.random_ratio(3, 4));
        let Saved { by_master, by_replica } = saved;
        self.set_trap(trial.trap, victim, by_replica);
        self.begin_outage(trial, victim);
        let longest = self.longest_outage.max(SHORTEST_OUTAGE + Duration::from_millis(1));
        // How long an outage lasts is drawn at random.
        thread::sleep(self.rng.random_range(SHORTEST_OUTAGE..longest));
        if trial.trap.is_unlinked() {
            self.progress.lure_to(victim, 20);
        }
        self.progress.release();
        self.end_outage(trial, victim, by_master);
        self.progress.outages.end();
        self.progress.set_quiet(false);
        if self.rng.random() {
            self.progress.flow(1, 40);
        }
        self.gather();
    }

    /// The one that becomes a trap. The first server starts as a master: what it does then nobody could judge.
    fn victim(&mut self, trap: Trap) -> usize {
        let others = self.others();
        others.iter().copied().find(|server| trap != Trap::Old || *server != 0).unwrap_or(others[0])
    }

    /// Has those save what they hold who will start again from it, and lets writes come that are not in it.
    fn save(&mut self, trial: Trial, victim: usize) -> Saved {
        let is_restored = trial.end == End::Restored || (trial.end, trial.outage) == (End::Resumed, Outage::Killed);
        // A deposed master does not come back.
        let by_master = (is_restored && trial.trap != Trap::Diverged).then(|| self.save_master());
        let by_replica = (trial.trap == Trap::Old).then(|| self.save_replica(victim));
        if by_master.is_some() || by_replica.is_some() {
            self.progress.flow(10, 20);
        }
        Saved { by_master, by_replica }
    }

    /// Another one becomes the master, and this one does not hear of it. Returns it.
    fn depose(&mut self) -> usize {
        let (old, others) = (self.master, self.heirs());
        self.promote(others[0]);
        self.take_over(others[0], &others[1..]);
        self.write_strays(old, 10);
        self.cut_off(old);
        self.follow(old, self.master);
        wait_within(LINKED_WITHIN, "the others follow", || others[1..].iter().all(|server| self.is_linked(*server)));
        old
    }

    /// A replica hears another one, which hears nobody.
    fn chain(&mut self, victim: usize) {
        let middle = (0..4).find(|server| ![victim, self.master].contains(server)).unwrap();
        self.follow(victim, middle);
        wait_within(LINKED_WITHIN, "it follows a replica", || self.is_linked(victim));
        self.cut_off(middle);
        self.progress.flow(10, 20);
    }

    fn set_trap(&mut self, trap: Trap, victim: usize, saved: Option<Snapshot>) {
        if trap.is_unlinked() {
            // What the naive readers go by, it has.
            self.progress.lure_to(victim, 6);
        }
        if !matches!(trap, Trap::Chained | Trap::Diverged) {
            self.catch_up(victim);
        }
        match trap {
            Trap::None | Trap::Chained | Trap::Diverged => {}
            Trap::Emptied => self.empty(victim),
            Trap::EmptiedTwice => {
                self.empty(victim);
                self.claim(victim);
            }
            Trap::Stranger => self.estrange(victim),
            Trap::Returned => {
                self.estrange(victim);
                self.cut_off(victim);
                if self.rng.random() {
                    self.claim(victim);
                } else {
                    self.follow(victim, self.master);
                }
            }
            Trap::Old => self.restart_from(victim, saved.unwrap()),
            Trap::Blank => {
                self.restart_blank(victim);
                self.cut_off(victim);
                self.follow(victim, self.master);
            }
        }
    }

    /// Has full resyncs of a replica cut short: behind the flush, if it flushes before it has everything.
    ///
    /// The first ones have to empty it, if there is any way; later ones load in any way.
    fn empty(&mut self, victim: usize) {
        let has_to = self.emptied < 2 || self.rng.random_ratio(3, 4);
        let mut loads = self.loads.clone();
        loads.shuffle(&mut self.rng);
        loads.truncate(if has_to { loads.len() } else { 1 });
        let is_emptied = loads.into_iter().any(|load| {
            // A file that breaks off would end the server.
            follow_port(self.server(victim), self.unloadable.port);
            self.set_load(victim, load);
            self.cut_resync_short(victim, load)
        });
        self.emptied += u64::from(is_emptied);
    }

    /// Returns whether its data is gone: some servers look before they flush.
    fn cut_resync_short(&self, victim: usize, load: &str) -> bool {
        let master = if load == "disabled" { &self.unloadable } else { &self.broken };
        let asked = || master.connections.load(Ordering::SeqCst);
        let before = asked();
        follow_port(self.server(victim), master.port);
        let size = || redis::cmd("DBSIZE").query::<usize>(&mut self.server(victim).connection().unwrap()).unwrap();
        let is_empty = || self.offset(victim, "slave_repl_offset") == 1 && size() == 0;
        // The third one has come when two have failed.
        wait_until("its data is gone, or it has tried", || is_empty() || asked() >= before + 3);
        is_empty()
    }

    /// Makes a replica a master and a replica again, with nothing between, and without a link.
    fn claim(&self, victim: usize) {
        self.cut_off(victim);
        let mut steps = redis::pipe();
        steps.atomic().cmd("REPLICAOF").arg("NO").arg("ONE").ignore();
        steps.cmd("REPLICAOF").arg("127.0.0.1").arg(self.port(victim, self.master)).ignore();
        steps.exec(&mut self.server(victim).connection().unwrap()).unwrap();
    }

    /// Has a replica follow a server of another history, which has written more than this one.
    fn estrange(&self, victim: usize) {
        let stranger = self.stranger.master();
        follow_port(self.server(victim), stranger.addr().port().unwrap());
        wait_within(LINKED_WITHIN, "it follows the stranger", || self.is_linked(victim));
        let mut connection = stranger.connection().unwrap();
        let mut steps = redis::pipe();
        steps.cmd("SET").arg("pad").arg("x".repeat(4 << 20)).ignore().cmd("DEL").arg("pad").ignore();
        steps.exec(&mut connection).unwrap();
        let offset = stranger.info("replication", "master_repl_offset").unwrap().unwrap().parse().unwrap();
        wait_within(LINKED_WITHIN, "it has what the stranger has", || {
            self.offset(victim, "slave_repl_offset") >= offset
        });
    }

    fn begin_outage(&mut self, trial: Trial, victim: usize) {
        let master = self.master;
        if trial.outage != Outage::Calm {
            self.progress.outages.begin();
        }
        match trial.outage {
            Outage::Calm => return,
            Outage::Killed => self.server_mut(master).stop(),
            Outage::Stopped => self.server(master).pause().unwrap(),
            Outage::StoppedAndCut => {
                (0..4).for_each(|server| self.link(server, master, NetworkFault::Refuse));
                self.server(master).pause().unwrap();
            }
        }
        if trial.outage == Outage::Stopped {
            return;
        }
        // A replica of a stranger, or of another replica, goes on hearing that one.
        let others = (0..4).filter(|server| ![victim, master].contains(server));
        let is_cut = |server: usize| self.field(server, "master_link_status").as_deref() == Some("down");
        let others: Vec<usize> = others.collect();
        wait_until("the links are cut", || others.iter().all(|server| is_cut(*server)));
        self.progress.outages.cut();
    }

    fn end_outage(&mut self, trial: Trial, victim: usize, saved: Option<Snapshot>) {
        let master = self.master;
        match trial.end {
            End::Resumed | End::Restored => match saved {
                Some(snapshot) => self.restore(snapshot),
                None if trial.outage == Outage::Killed => self.hand_over(trial, victim),
                None if trial.outage != Outage::Calm => self.server(master).resume().unwrap(),
                None => {}
            },
            End::Promoted | End::TrapPromoted => self.hand_over(trial, victim),
        }
    }

    /// The master starts again from what it had saved.
    fn restore(&mut self, snapshot: Snapshot) {
        let master = self.master;
        self.server_mut(master).stop();
        self.restart_from(master, snapshot);
        if master != 0 {
            self.promote(master);
        }
    }

    /// Another one becomes the master. The old one may be back before it hears of that.
    fn hand_over(&mut self, trial: Trial, victim: usize) {
        let old = self.master;
        let heir = if trial.end == End::TrapPromoted {
            victim
        } else {
            self.others().into_iter().find(|server| *server != victim).unwrap()
        };
        self.promote(heir);
        self.take_over(heir, &[]);
        self.progress.outages.end();
        self.progress.set_quiet(false);
        if heir == victim || self.rng.random() {
            // What it claims, it claims until somebody follows it.
            self.progress.flow(5, 60);
        }
        match trial.outage {
            Outage::Calm => {}
            Outage::Killed => self.restart_blank(old),
            Outage::Stopped | Outage::StoppedAndCut => self.server(old).resume().unwrap(),
        }
    }

    /// Everybody follows the master again.
    fn gather(&mut self) {
        self.change_weather();
        let others = self.others();
        others.into_iter().for_each(|server| self.follow(server, self.master));
    }
}
