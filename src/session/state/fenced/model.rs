//! The rule of fences against a model: servers that lose writes, evict keys and start again from old snapshots, and sessions whose
//! writes arrive in any order, late, or never.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use proptest::prelude::{Just, Strategy, prop_assert, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;

use crate::session::SessionMode;
use crate::session::state::{Acceptance, FenceReading, Raise, RaiseReply, Requirement, Session, WriteKind};
use crate::session::token::Loss;

const SERVERS: usize = 3;

/// What a server did, in its order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Raised {
        write: usize,
        name: u64,
        amount: u64,
    },
    /// The key of a fence was evicted.
    Evicted(u64),
}

/// A write that was sent.
#[derive(Clone, Debug)]
struct Write {
    requirement: Requirement,
    raise: Raise,
    kind: WriteKind,
    /// What the server answered, and which.
    answer: Option<RaiseReply>,
    is_over: bool,
}

/// A read that was answered; the session has not heard of it yet.
#[derive(Clone, Debug)]
struct Read {
    requirement: Requirement,
    /// The writes that were acknowledged when it began, and how often the session had reported a loss.
    seen: BTreeSet<usize>,
    /// The writes that were reported lost or unproven before, but are still there.
    kept: BTreeSet<usize>,
    turns: u32,
    reports: u32,
    reading: FenceReading,
    log: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Begin(WriteKind),
    Execute(usize, usize),
    Answer(usize),
    Lose(usize),
    Sync(usize, usize),
    /// Back to where it was so many entries ago: a replica takes over, or the server starts again from a snapshot.
    GoBack(usize, usize),
    Evict(usize),
    Appoint(usize),
    Ask(usize),
    Hear(usize),
    /// A token is taken: the next write of the session raises another fence.
    TakeToken,
    Travel,
}

struct World {
    now: Instant,
    dice: u64,
    session: Session,
    logs: Vec<Vec<Entry>>,
    master: usize,
    writes: Vec<Write>,
    reads: Vec<Read>,
    seen: BTreeSet<usize>,
    /// The writes seen before the last report.
    excused: BTreeSet<usize>,
    reports: u32,
    /// The loss that replies have found, which the next read reports.
    found: Option<Loss>,
    /// How often another master was appointed, or one went back; and after how many of those each write was answered.
    turns: u32,
    answered: HashMap<usize, u32>,
    acknowledged: BTreeSet<usize>,
}

impl World {
    fn new() -> Self {
        let session = Session::resume(&crate::Token::default(), SessionMode::Fence);
        let (logs, seen, excused) = (vec![Vec::new(); SERVERS], BTreeSet::new(), BTreeSet::new());
        let (writes, reads) = (Vec::new(), Vec::new());
        Self {
            now: Instant::now(),
            dice: 0,
            session,
            logs,
            master: 0,
            writes,
            reads,
            seen,
            excused,
            reports: 0,
            found: None,
            turns: 0,
            answered: HashMap::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    fn random(&mut self) -> u64 {
        self.dice += 1;
        let mixed = self.dice.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    fn count(log: &[Entry], name: u64) -> Option<u64> {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for entry in log {
            match *entry {
                Entry::Raised { name, amount, .. } => *counts.entry(name).or_default() += amount,
                Entry::Evicted(name) => drop(counts.remove(&name)),
            }
        }
        counts.get(&name).copied()
    }

    fn report(&mut self) {
        self.reports += 1;
        self.excused.append(&mut self.seen);
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Begin(kind) => {
                let (name, dice) = (self.random(), self.random());
                let requirement = self.session.requirement();
                if let Some(raise) = self.session.raise(self.now, name, dice, kind) {
                    self.writes.push(Write { requirement, raise, kind, answer: None, is_over: false });
                }
            }
            Event::Execute(write, server) => self.execute(write, server),
            Event::Answer(write) => self.answer(write)?,
            Event::Lose(write) => {
                let Some(write) = self.pick(write, |write| !write.is_over) else { return Ok(()) };
                self.writes[write].is_over = true;
                self.session.record_lost_reply(self.writes[write].raise);
                self.session.cancel(self.writes[write].raise);
            }
            Event::Sync(from, to) => {
                self.turns += u32::from(to == self.master);
                self.logs[to] = self.logs[from].clone();
            }
            Event::GoBack(server, entries) => {
                self.turns += u32::from(server == self.master);
                let kept = self.logs[server].len().saturating_sub(entries);
                self.logs[server].truncate(kept);
            }
            Event::Evict(server) => {
                if let Some(Entry::Raised { name, .. }) = self.logs[server].last().copied() {
                    self.logs[server].push(Entry::Evicted(name));
                }
            }
            Event::Appoint(server) => {
                self.turns += u32::from(self.master != server);
                self.master = server;
            }
            Event::Ask(server) => self.ask(server)?,
            Event::Hear(read) => {
                if !self.reads.is_empty() {
                    let read = self.reads.swap_remove(read % self.reads.len());
                    self.hear(read)?;
                }
            }
            Event::TakeToken => drop(self.session.token()),
            Event::Travel => {
                self.now += Duration::from_millis(1);
                let token = self.session.token().to_string().parse().unwrap();
                self.session = Session::resume(&token, SessionMode::Fence);
                self.writes.iter_mut().for_each(|write| write.is_over = true);
                self.reads.clear();
            }
        }
        Ok(())
    }

    /// At any server that takes itself for a master; once.
    fn execute(&mut self, write: usize, server: usize) {
        let Some(write) = self.pick(write, |write| write.answer.is_none()) else { return };
        let raise = self.writes[write].raise;
        self.logs[server].push(Entry::Raised { write, name: raise.name, amount: raise.amount });
        let log = &self.logs[server];
        let count = Self::count(log, raise.name).unwrap_or(0);
        let before = raise.before.and_then(|fence| Self::count(log, fence.name));
        self.writes[write].answer = Some(RaiseReply { count, before, by: server as u64 });
    }

    fn answer(&mut self, write: usize) -> Result<(), TestCaseError> {
        let Some(write) = self.pick(write, |write| !write.is_over && write.answer.is_some()) else { return Ok(()) };
        let Write { requirement, raise, answer, .. } = self.writes[write].clone();
        let Some(answer) = answer else { return Ok(()) };
        self.writes[write].is_over = true;
        let found = self.session.record_raise(&requirement, raise, answer, self.now);
        self.session.cancel(raise);
        if self.writes[write].kind != WriteKind::Renewal {
            self.seen.insert(write);
            self.answered.insert(write, self.turns);
            self.acknowledged.insert(write);
        }
        self.check_alarm(found)?;
        self.found = self.found.max(found);
        Ok(())
    }

    /// Picks one of the writes of which this holds; low numbers pick late ones.
    fn pick(&self, number: usize, is_one: impl Fn(&Write) -> bool) -> Option<usize> {
        let ones: Vec<usize> = (0..self.writes.len()).rev().filter(|write| is_one(&self.writes[*write])).collect();
        ones.get(number % ones.len().max(1)).copied()
    }

    fn ask(&mut self, server: usize) -> Result<(), TestCaseError> {
        if self.session.take_loss().is_some() {
            self.found = None;
            self.report();
        }
        let requirement = self.session.requirement();
        let count = requirement.watermark.fence().and_then(|fence| Self::count(&self.logs[server], fence.name));
        let second = requirement.second.and_then(|fence| Self::count(&self.logs[server], fence.name));
        let reading = FenceReading { is_master: server == self.master, count, second, by: server as u64 };
        let (seen, log) = (self.seen.clone(), self.logs[server].clone());
        let master = &self.logs[self.master];
        let is_kept = |write: &&usize| {
            self.answered.get(write) == Some(&self.turns)
                && master.iter().any(|entry| matches!(entry, Entry::Raised { write: own, .. } if own == *write))
        };
        let kept = self.excused.iter().filter(is_kept).copied().collect();
        let (turns, reports) = (self.turns, self.reports);
        self.reads.push(Read { requirement, seen, kept, turns, reports, reading, log });
        Ok(())
    }

    fn hear(&mut self, read: Read) -> Result<(), TestCaseError> {
        // A master that was deposed since is not confirmed.
        let is_confirmed =
            read.reading.is_master && read.reading.by == self.master as u64 && read.log == self.logs[self.master];
        match self.session.verify_read(&read.requirement, read.reading, is_confirmed) {
            Acceptance::Accept => {
                let contains = |write: &usize| {
                    read.log.iter().any(|entry| matches!(entry, Entry::Raised { write: own, .. } if own == write))
                };
                if self.reports == read.reports {
                    let lacks: Vec<_> = read.seen.iter().filter(|write| !contains(write)).collect();
                    prop_assert!(lacks.is_empty(), "lacks {lacks:?}: {read:?}");
                }
                // What was not lost has to be there, whatever was reported.
                if self.turns == read.turns && self.logs[self.master].starts_with(&read.log) {
                    let lacks: Vec<_> = read.kept.iter().filter(|write| !contains(write)).collect();
                    prop_assert!(lacks.is_empty(), "reported, not lost, and lacks {lacks:?}: {read:?}");
                }
                self.see(&read);
            }
            Acceptance::Report(loss) => {
                // What an answer has found may be back.
                let found = self.found.take();
                self.check_alarm(Some(loss).filter(|loss| found < Some(*loss)))?;
                self.report();
            }
            Acceptance::NotProven => {}
        }
        Ok(())
    }

    /// What the session's own writes did is seen from now on; of those that are lost, what a counter shows.
    fn see(&mut self, read: &Read) {
        let names: Vec<u64> = read
            .requirement
            .watermark
            .fence()
            .into_iter()
            .chain(read.requirement.second)
            .map(|fence| fence.name)
            .collect();
        let mut evicted = BTreeSet::new();
        for entry in read.log.iter().rev() {
            let (write, name) = match *entry {
                Entry::Evicted(name) => {
                    evicted.insert(name);
                    continue;
                }
                Entry::Raised { write, name, .. } => (write, name),
            };
            let Write { kind, is_over, .. } = self.writes[write];
            let is_lost = is_over && !self.acknowledged.contains(&write);
            let is_shown = names.contains(&name) && !evicted.contains(&name);
            // Where the counter is gone, nothing tells of writes under way.
            let is_hidden = evicted.contains(&name) && !self.acknowledged.contains(&write);
            if kind == WriteKind::Renewal || is_hidden || (is_lost && !is_shown) {
                continue;
            }
            // Of what no counter shows, the session would not know that it is gone.
            if self.reports == read.reports && is_shown {
                self.seen.insert(write);
            } else {
                self.excused.insert(write);
            }
            if self.turns == read.turns {
                self.answered.insert(write, self.turns);
            }
        }
    }

    /// A loss is reported only if a server went back, or a write went to another one.
    fn check_alarm(&self, found: Option<Loss>) -> Result<(), TestCaseError> {
        if found == Some(Loss::Lost) {
            // Also those of which no answer came, and which were executed.
            let is_known = |write: &usize| {
                let Write { kind, answer, .. } = &self.writes[*write];
                self.seen.contains(write)
                    || self.excused.contains(write)
                    || (answer.is_some() && *kind != WriteKind::Renewal)
            };
            let has = |log: &[Entry], write: usize| {
                log.iter().any(|entry| matches!(entry, Entry::Raised { write: own, .. } if *own == write))
            };
            let lacks = |log: &Vec<Entry>| (0..self.writes.len()).filter(is_known).any(|write| !has(log, write));
            prop_assert!(self.logs.iter().any(lacks), "nothing is lost: {:?}", self.logs);
        }
        Ok(())
    }
}

fn events() -> impl Strategy<Value = Event> {
    let server = || 0..SERVERS;
    let write = || 0..12_usize;
    prop_oneof![
        6 => prop_oneof![3 => Just(WriteKind::Atomic), 1 => Just(WriteKind::Renewal)].prop_map(Event::Begin),
        8 => (write(), server()).prop_map(|(write, server)| Event::Execute(write, server)),
        8 => write().prop_map(Event::Answer),
        1 => write().prop_map(Event::Lose),
        4 => (server(), server()).prop_map(|(from, to)| Event::Sync(from, to)),
        2 => (server(), 1..4_usize).prop_map(|(server, entries)| Event::GoBack(server, entries)),
        1 => server().prop_map(Event::Evict),
        1 => server().prop_map(Event::Appoint),
        8 => server().prop_map(Event::Ask),
        8 => (0..4_usize).prop_map(Event::Hear),
        1 => Just(Event::TakeToken),
        1 => Just(Event::Travel),
    ]
}

proptest! {
    #[test]
    fn what_is_accepted_is_there(events in proptest::collection::vec(events(), 1..160)) {
        let mut world = World::new();
        for event in events {
            world.happen(event)?;
        }
    }
}
