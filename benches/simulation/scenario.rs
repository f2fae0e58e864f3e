//! What happens to the servers of a run: what is wrong with one of them, and how they serve.
//!
//! Times are nanoseconds since the beginning of the run.

use std::time::Duration;

pub const MS: u64 = 1_000_000;
/// The zone of the clients, and of all servers but a far one.
pub const HOME: &str = "home";
/// To a server and back.
pub const ROUND_TRIP: u64 = MS / 10;
/// What a server has to do for a request, on average.
pub const SERVICE: f64 = 20_000.0;
/// The part of the capacity of equal servers that is asked for.
const LOAD: f64 = 0.7;
/// What comes before is not counted: everybody is still a stranger.
const WARM_UP: u64 = 200 * MS;
/// When the server of [`Scenario::Returning`] comes back.
pub const RETURN: u64 = 1000 * MS;
const STALL: u64 = 50 * MS;
const STALL_EVERY: u64 = 500 * MS;
const FIRST_STALL: u64 = 250 * MS;
/// How much slower the server of [`Scenario::Slow`] is.
const SLOWNESS: u32 = 4;

pub fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// What is wrong with one server, the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scenario {
    Equal,
    Slow,
    Stalls,
    Far,
    Failing,
    Returning,
}

/// One run of the simulation, apart from the strategy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    pub scenario: Scenario,
    pub nodes: usize,
    pub clients: usize,
    /// Requests a second, if not by the usual load.
    pub rate: Option<f64>,
    pub seed: u64,
}

/// Serves one request after the other.
#[derive(Clone)]
pub struct Server {
    idle_from: u64,
    slowness: f64,
    detour: u64,
    stalls: bool,
    fails: bool,
}

/// What becomes of a request.
pub struct Reply {
    /// When the client has it.
    pub at: u64,
    pub is_failure: bool,
}

impl Scenario {
    pub const ALL: [Self; 6] = [Self::Equal, Self::Slow, Self::Stalls, Self::Far, Self::Failing, Self::Returning];

    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Slow => "one 4 × slower",
            Self::Stalls => "50 ms stalls of one",
            Self::Far => "one in a far zone",
            Self::Failing => "one failing instantly",
            Self::Returning => "one returning",
        }
    }

    /// Tells from when on requests are counted.
    pub fn counted_from(self) -> u64 {
        if self == Self::Returning { RETURN } else { WARM_UP }
    }
}

impl Setting {
    pub fn rate(&self) -> f64 {
        self.rate.unwrap_or(LOAD * self.nodes as f64 * 1e9 / SERVICE)
    }

    /// Returns when the last request is sent: at least 420 000 are counted, and four stalls.
    pub fn end(&self) -> u64 {
        self.scenario.counted_from() + (2000 * MS).max((420_000.0 / self.rate() * 1e9) as u64)
    }

    pub fn servers(&self) -> Vec<Server> {
        let is = |index, scenario| self.is_bad(index, scenario);
        let server = |index| Server {
            idle_from: 0,
            slowness: if is(index, Scenario::Slow) { f64::from(SLOWNESS) } else { 1.0 },
            detour: if is(index, Scenario::Far) { MS } else { 0 },
            stalls: is(index, Scenario::Stalls),
            fails: is(index, Scenario::Failing),
        };
        (0..self.nodes).map(server).collect()
    }

    /// Returns what a server can do, compared with the others.
    pub fn speed(&self, index: usize) -> u32 {
        if self.is_bad(index, Scenario::Slow) { 1 } else { SLOWNESS }
    }

    pub fn zone(&self, index: usize) -> &'static str {
        if self.is_bad(index, Scenario::Far) { "far" } else { HOME }
    }

    fn is_bad(&self, index: usize, scenario: Scenario) -> bool {
        index + 1 == self.nodes && self.scenario == scenario
    }

    /// Returns how many of the servers there are to choose from.
    pub fn present(&self, now: u64) -> usize {
        let is_absent = self.scenario == Scenario::Returning && now < RETURN;
        self.nodes - usize::from(is_absent)
    }
}

impl Server {
    /// Takes a request that needs `work` nanoseconds of an ordinary server; to be called in the order of sending.
    pub fn serve(&mut self, sent: u64, work: f64) -> Reply {
        if self.fails {
            return Reply { at: sent + ROUND_TRIP, is_failure: true };
        }
        let way = (ROUND_TRIP + self.detour) / 2;
        let start = self.awake(self.idle_from.max(sent + way));
        let end = start + (work * self.slowness) as u64;
        // A stall in the middle of a request makes it that much longer.
        let is_halted = self.awake(end) != end;
        self.idle_from = if is_halted { end + STALL } else { end };
        Reply { at: self.idle_from + way, is_failure: false }
    }

    /// Returns for how long it is busy with what it has got.
    pub fn backlog(&self, now: u64) -> u64 {
        self.idle_from.saturating_sub(now)
    }

    /// Returns the first time from `time` on at which the server does not stall.
    fn awake(&self, time: u64) -> u64 {
        if !self.stalls || time < FIRST_STALL {
            return time;
        }
        let into = (time - FIRST_STALL) % STALL_EVERY;
        if into < STALL { time - into + STALL } else { time }
    }
}
