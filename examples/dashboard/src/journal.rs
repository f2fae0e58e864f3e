//! The recent events, as a person reads them.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

/// The most events that are kept.
const MOST: usize = 200;

pub struct Journal {
    began: Instant,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    recent: VecDeque<Entry>,
    last: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub number: u64,
    /// Milliseconds since the start.
    pub at: u64,
    pub kind: Kind,
    /// The index of the node that it is about.
    pub node: Option<usize>,
    pub text: String,
    /// What to write beside its mark in the charts, if it gets one.
    pub mark: Option<&'static str>,
}

/// Whom an event comes from, and how it should look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody pressed a button.
    Action,
    /// Something is worse than before.
    Trouble,
    /// Something is well again.
    Recovery,
    /// Writes go to another master.
    Failover,
    /// Calls of the application failed.
    Failure,
    /// Anything else.
    Change,
}

impl Journal {
    pub fn new() -> Self {
        Self { began: Instant::now(), entries: Mutex::default() }
    }

    pub fn write(&self, kind: Kind, node: Option<usize>, text: impl Into<String>) {
        self.write_with_mark(kind, node, text, None);
    }

    pub fn write_with_mark(
        &self,
        kind: Kind,
        node: Option<usize>,
        text: impl Into<String>,
        mark: Option<&'static str>,
    ) {
        let (at, text) = (self.now(), text.into());
        let mut entries = self.entries.lock();
        entries.last += 1;
        let number = entries.last;
        entries.recent.push_back(Entry { number, at, kind, node, text, mark });
        if entries.recent.len() > MOST {
            entries.recent.pop_front();
        }
    }

    /// Returns the events after that one.
    pub fn after(&self, number: u64) -> Vec<Entry> {
        self.entries.lock().recent.iter().filter(|entry| entry.number > number).cloned().collect()
    }

    /// Returns the milliseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
