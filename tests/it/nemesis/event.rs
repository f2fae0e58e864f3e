//! What happens to the servers, by name.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// One thing that happens.
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
    /// The master evicts fences of sessions.
    Eviction,
    Trial(Trial),
    /// Sentinels are told to promote another one; the old master does not know for a while.
    Commanded,
    /// The master is killed, and Sentinels find out.
    Killed,
    /// The master hangs until Sentinels find out.
    Hung,
    /// It hangs for so short a time that they do not.
    Stalled,
}

/// A replica that is not what it seems, beside a master that goes away.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Trial {
    pub trap: Trap,
    pub outage: Outage,
    pub end: End,
}

/// What is wrong with one replica.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Trap {
    /// Nothing.
    None,
    /// Its full resync was cut short behind the flush: it names what it had, and holds nothing of it.
    Emptied,
    /// The same; then it was a master for a moment, and claims by its second id all that it had.
    EmptiedTwice,
    /// It follows a server of another history.
    Stranger,
    /// It did, and came back, but reaches nobody.
    Returned,
    /// It started again from a snapshot of its own, and reaches nobody.
    Old,
    /// It started again with nothing, and reaches nobody.
    Blank,
    /// It follows another replica, which reaches nobody.
    Chained,
    /// It was the master, took writes when it was none any more, and follows late without reaching its successor.
    Diverged,
}

/// What becomes of the master meanwhile.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outage {
    /// It serves.
    Calm,
    /// It is killed.
    Killed,
    /// It hangs.
    Stopped,
    /// It hangs, and the links of its replicas are cut.
    StoppedAndCut,
}

/// How it ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum End {
    /// The master goes on; one that was killed, from an older snapshot.
    Resumed,
    /// The master starts again from an older snapshot.
    Restored,
    /// Another replica takes its place.
    Promoted,
    /// The replica takes its place that is not what it seems.
    TrapPromoted,
}

impl Event {
    pub const FAILOVERS: [Self; 4] = [Self::Clean, Self::Lossy, Self::SplitBrain, Self::Crash];
    pub const OTHERS: [Self; 4] = [Self::Usurper, Self::FullResync, Self::Restart, Self::Eviction];

    /// What happens where Sentinels watch. Those that are found out come first: they wait after one on command.
    pub const WATCHED: [Self; 7] =
        [Self::Killed, Self::Stalled, Self::Hung, Self::Commanded, Self::FullResync, Self::Restart, Self::Eviction];

    /// Returns whether another server is the master afterwards.
    pub fn is_failover(self) -> bool {
        match self {
            Self::Trial(trial) => trial.trap == Trap::Diverged || trial.end >= End::Promoted,
            Self::Commanded | Self::Killed | Self::Hung => true,
            event => Self::FAILOVERS.contains(&event),
        }
    }

    /// Returns the names under which it is counted.
    pub fn names(self) -> Vec<String> {
        match self {
            Self::Trial(Trial { trap, outage, end }) => {
                vec![format!("trap {trap:?}"), format!("outage {outage:?}"), format!("end {end:?}")]
            }
            event => vec![format!("{event:?}")],
        }
    }
}

impl Trap {
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Emptied,
        Self::EmptiedTwice,
        Self::Stranger,
        Self::Returned,
        Self::Old,
        Self::Blank,
        Self::Chained,
        Self::Diverged,
    ];

    /// Returns whether the naive rules are to be caught here: whoever counts link-down replicas without asking what they hold.
    pub fn is_unlinked(self) -> bool {
        !matches!(self, Self::None | Self::Stranger | Self::Chained)
    }

    /// Draws what happens beside it. The first time, an emptied one is promoted.
    pub fn drawn(self, rng: &mut StdRng, is_first: bool) -> Event {
        let outages = [Outage::Calm, Outage::Killed, Outage::Killed, Outage::Stopped, Outage::StoppedAndCut];
        let outage = if self == Self::None { &outages[1..] } else { &outages }.choose(rng).copied();
        let ends = [End::Resumed, End::Restored, End::Promoted, End::TrapPromoted];
        // An emptied one that is promoted claims most.
        let is_emptied = matches!(self, Self::Emptied | Self::EmptiedTwice);
        let end = if is_emptied && (is_first || rng.random()) {
            End::TrapPromoted
        } else {
            ends[rng.random_range(0..ends.len())]
        };
        Event::Trial(Trial { trap: self, outage: outage.unwrap_or(Outage::Calm), end })
    }
}
