//! One run: load and faults, rests between, and the verdict.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_replicated::ReplicatedClient;

use super::PANICS;
use super::failure::TELLINGS;
use super::gauge::Gauge;
use super::lateness::{GRACE, Report};
use super::load::{Load, SLOTS};
use super::plan::{Mode, Plan, open};
use super::rests::{Rest, Rests};
use super::sample::{Held, Table, millis};
use super::stage::Stage;

/// A rest without failures begins so long after the last fault.
const RECOVERED: Duration = Duration::from_secs(5);
/// So long it lasts at least.
const SHORTEST_REST: Duration = Duration::from_secs(5);
/// Idle connections are looked for every 30 s, and closed when they have been idle for 2 s.
const LONGEST_REST: Duration = Duration::from_secs(45);
/// This share of the calls has to be back in time.
const IN_TIME: f64 = 0.999;

/// So many calls at most are told by a session that it does not know whether something is lost.
const TOLD: f64 = 0.000_01;

/// Ends the threads of a run, also when something panics: the scope would wait for ever.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One run in one mode.
struct Run<'a> {
    plan: &'a Plan,
    mode: Mode,
    stage: Stage,
    client: &'a ReplicatedClient,
    load: &'a Load<'a>,
    gauge: &'a Gauge,
    /// The first one is before any load.
    rests: Rests,
}

/// Runs in one mode; returns whether all was as it has to be.
pub(super) fn run(plan: &Plan, mode: Mode) -> bool {
    println!("{mode:?}, {} min, seed {}", plan.minutes, plan.seed);
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let stage = Stage::start(StdRng::seed_from_u64(rng.random()));
    let client = open(stage.servers.client_builder(), mode);
    let gauge = Gauge::new(SLOTS);
    let load = Load::new(client.clone(), stage.servers.client_builder(), &gauge);
    let mut table = Table::new(&gauge);
    thread::scope(|scope| {
        let _end = End(&gauge.is_over);
        scope.spawn(|| gauge.watch());
        scope.spawn(|| gauge.sleep());
        scope.spawn(|| table.print_regularly(&load));
        let mut run = Run { plan, mode, stage, client: &client, load: &load, gauge: &gauge, rests: Rests::default() };
        run.rest();
        let end = Instant::now() + plan.length();
        while Instant::now() < end {
            run.work(StdRng::seed_from_u64(rng.random()));
            run.rest();
        }
        run.judge()
    })
}

impl Run<'_> {
    /// Lets the threads call while everything happens.
    fn work(&mut self, rng: StdRng) {
        let (load, end) = (self.load, Instant::now() + self.plan.load_length());
        thread::scope(|scope| {
            let calls = scope.spawn(move || load.run(rng, end));
            while Instant::now() < end {
                let fault = self.stage.draw();
                self.gauge.happens(format!("{fault:?}, master {}", self.stage.master().addr()));
                self.stage.act(fault);
                self.give_up_if_hung();
            }
            self.join(calls);
        });
    }

    /// Lets one thread call while nothing happens, until what is not needed any more is closed.
    fn rest(&mut self) {
        self.stage.settle();
        self.check_that_nothing_is_in_use();
        self.load.check_at_rest(self.stage.master());
        let (load, stop) = (self.load, &AtomicBool::new(false));
        thread::scope(|scope| {
            let calls = scope.spawn(move || load.rest(stop));
            thread::sleep(RECOVERED);
            self.gauge.is_calm.store(true, Ordering::SeqCst);
            thread::sleep(SHORTEST_REST);
            let end = Instant::now() + LONGEST_REST;
            let mut rest = self.look();
            while self.excess(rest).is_some() && Instant::now() < end {
                thread::sleep(Duration::from_millis(100));
                rest = self.look();
                self.give_up_if_hung();
            }
            if let Some(excess) = self.excess(rest) {
                self.gauge.wrong(excess);
                println!("{}", self.stage.connections().join("\n"));
            }
            println!("  {:>6.0}  at rest: {rest}", self.gauge.elapsed().as_secs_f64());
            self.rests.push(rest);
            stop.store(true, Ordering::SeqCst);
            self.join(calls);
            self.gauge.is_calm.store(false, Ordering::SeqCst);
        });
    }

    fn look(&self) -> Rest {
        Rest { connections: self.stage.connections().len(), held: Held::now() }
    }

    /// Returns what is held that was not when the client was new.
    fn excess(&self, rest: Rest) -> Option<String> {
        let fresh = self.rests.first()?;
        // When a pool closes idle connections, those in use are not the next ones to be taken: one more is opened.
        let connections = fresh.connections + 3 * (1 + self.mode.shared_connections() as usize);
        let is_excess = rest.held.threads != fresh.held.threads
            || rest.other_descriptors() != fresh.other_descriptors()
            || rest.connections > connections;
        is_excess.then(|| format!("at rest there are {rest}; a new client needed {fresh}"))
    }

    /// Nobody calls: no request is in flight, and no connection is lent.
    fn check_that_nothing_is_in_use(&self) {
        for node in self.client.snapshot().nodes {
            if node.in_flight > 0 || node.connections_in_use > 0 {
                let (flying, lent) = (node.in_flight, node.connections_in_use);
                self.gauge.wrong(format!("nobody calls {}: {flying} in flight, {lent} connections in use", node.addr));
            }
        }
    }

    /// Waits for a thread, unless a call never comes back.
    fn join(&mut self, calls: ScopedJoinHandle<'_, ()>) {
        while !calls.is_finished() {
            thread::sleep(Duration::from_millis(10));
            self.give_up_if_hung();
        }
        if calls.join().is_err() {
            self.gauge.wrong("a thread panicked");
        }
    }

    /// Ends the process if a call never comes back: nobody could wait for its thread.
    fn give_up_if_hung(&mut self) {
        if let Some(hung) = self.gauge.hung() {
            println!("FAILS: {hung}\n{}", self.client.snapshot());
            // The servers would go on without this process.
            (0..2).for_each(|replica| self.stage.servers.replica_mut(replica).stop());
            self.stage.servers.master_mut().stop();
            process::exit(1);
        }
    }

    fn judge(&self) -> bool {
        let sums = self.gauge.sums();
        println!("{:?}: {} calls in {:.0?}", self.mode, sums.calls, self.gauge.elapsed());
        println!("  events: {:?}", self.stage.counts);
        println!("  errors: {:?}", self.gauge.names());
        self.load.print();
        self.gauge.lateness.judge(Instant::now());
        let Report { late, net, asleep } = self.gauge.lateness.report();
        let share = |late: u64| 1.0 - late as f64 / sums.calls as f64;
        println!("  {} calls ended at their deadline or behind it", sums.overdue);
        println!("  a thread that only sleeps was woken + {:.0} ms at worst", millis(asleep.latest));
        for (what, figures) in [("by the clock", late), ("without what the machine was late itself", net)] {
            println!(
                "  {:.4} % of the calls were back by their deadline + {GRACE:?} {what} ({} late, latest + {:.0} ms)",
                100.0 * share(figures.count),
                figures.count,
                millis(figures.latest)
            );
        }
        self.gauge.lateness.worst().iter().for_each(|(net, late)| println!("    net + {net:.1?}: {late}"));
        let is_flat = self.rests.print();
        let is_in_time = share(net.count) >= IN_TIME;
        let has_told = sums.errors[TELLINGS] as f64 > TOLD * sums.calls as f64;
        let (count, wrongs) = self.gauge.wrongs();
        println!("  wrong: {count}");
        wrongs.iter().for_each(|wrong| println!("    {wrong}"));
        let panics = PANICS.load(Ordering::SeqCst);
        let holds = is_flat && is_in_time && !has_told && count == 0 && panics == 0;
        println!(
            "{:?}: {} ({panics} panics, flat: {is_flat}, in time: {is_in_time}, sessions are told too often: {has_told})",
            self.mode,
            if holds { "holds" } else { "FAILS" }
        );
        holds
    }
}
