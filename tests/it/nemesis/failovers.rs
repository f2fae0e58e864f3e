//! Failovers, and other things that happen to the servers while a master serves.

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use redis_replicated::redis;
use redis_replicated::testing::NetworkFault;

use super::event::Event;
use super::history::{KEYS, STRAY};
use super::stage::Stage;
use crate::support::wait_until;

impl Stage<'_> {
    /// Lets something happen to the servers.
    pub fn act(&mut self, event: Event) {
        self.change_weather();
        self.draw_loads();
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
                let replica = self.others()[0];
                self.restart_blank(replica);
                self.change_weather();
                self.follow(replica, self.master);
            }
            Event::Eviction => self.evict(),
            Event::Trial(trial) => self.try_out(trial),
            Event::Commanded | Event::Killed | Event::Hung | Event::Stalled => unreachable!("Sentinels do that"),
        }
    }

    fn fail_over_cleanly(&mut self) {
        let (old, others) = (self.master, self.heirs());
        self.server(old).pause_writes(Duration::from_secs(60)).unwrap();
        wait_until("the heir has everything", || {
            self.offset(others[0], "slave_repl_offset") >= self.offset(old, "master_repl_offset")
        });
        self.promote(others[0]);
        self.take_over(others[0], &others[1..]);
        if self.rng.random() {
            // Somebody may still take the old one for the master, which has nothing of the new reign.
            self.progress.flow(1, 40);
        }
        self.follow(old, others[0]);
        // Not before: it would take writes again. Not later: it would not take those of its new master.
        self.server(old).unpause().unwrap();
    }

    fn fail_over_with_losses(&mut self) {
        let (old, others) = (self.master, self.heirs());
        others.iter().for_each(|server| self.link(*server, old, NetworkFault::BlackHole));
        let writes = self.rng.random_range(5..40);
        self.progress.flow(writes, 40);
        self.promote(others[0]);
        self.take_over(others[0], &others[1..]);
        if self.rng.random() {
            self.progress.flow(1, 40);
        }
        self.follow(old, self.master);
    }

    fn split(&mut self) {
        let (old, others) = (self.master, self.heirs());
        self.promote(others[0]);
        self.take_over(others[0], &others[1..2]);
        self.write_strays(old, 30);
        [old, others[2]].into_iter().for_each(|server| self.follow(server, self.master));
    }

    /// Writes on a master that is none any more, while everything goes on.
    pub fn write_strays(&mut self, stray: usize, count: u64) {
        let mut connection = self.server(stray).connection().unwrap();
        for _ in 0..count {
            self.strays += 1;
            redis::Cmd::set(KEYS[STRAY], self.strays).exec(&mut connection).unwrap();
            self.progress.flow(1, 4);
        }
    }

    fn crash(&mut self) {
        let (old, others) = (self.master, self.heirs());
        self.server_mut(old).stop();
        self.promote(others[0]);
        self.take_over(others[0], &others[1..]);
        if self.rng.random() {
            self.progress.flow(1, 40);
        }
        self.restart_blank(old);
        self.change_weather();
        self.follow(old, self.master);
    }

    fn usurp(&mut self) {
        let usurper = self.heirs()[0];
        self.promote(usurper);
        let reads = self.rng.random_range(20..200);
        self.progress.flow(1, reads);
        self.follow(usurper, self.master);
    }

    /// Deletes fences, as an eviction does.
    pub fn evict(&mut self) {
        let mut connection = self.server(self.master).connection().unwrap();
        let all = redis::cmd("KEYS").arg("redis-replicated:fence:*").query(&mut connection);
        let mut fences: Vec<String> = all.unwrap();
        fences.shuffle(&mut self.rng);
        if !fences.is_empty() {
            fences.truncate(self.rng.random_range(1..=fences.len()));
            redis::cmd("DEL").arg(fences).exec(&mut connection).unwrap();
        }
    }
}
