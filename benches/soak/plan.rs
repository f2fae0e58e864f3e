//! What was asked for on the command line.

use std::time::Duration;

use redis_replicated::{Builder, ReplicatedClient};

pub(super) const USAGE: &str = "cargo bench --bench soak -- [--minutes 60] [--mode shared|leases] [--seed 1]";

/// Which kind of connection many callers use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Leases,
    Shared,
}

/// How long to run, in which modes, and by which schedule.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) minutes: f64,
    pub(super) modes: Vec<Mode>,
    pub(super) seed: u64,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::Shared => "shared",
        }
    }

    /// Returns how many connections to each node are shared, which may stay open while one thread calls.
    pub(super) fn shared_connections(self) -> u32 {
        match self {
            Self::Leases => 0,
            Self::Shared => 1,
        }
    }
}

impl Plan {
    /// Reads the arguments. `None`: they make no sense.
    pub(super) fn read(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut plan = Self { minutes: 1.0, modes: vec![Mode::Leases, Mode::Shared], seed: rand::random() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // Added by cargo.
                "--bench" => {}
                "--minutes" => plan.minutes = args.next()?.parse().ok().filter(|minutes| *minutes > 0.0)?,
                "--seed" => plan.seed = args.next()?.parse().ok()?,
                "--mode" => {
                    let name = args.next()?;
                    plan.modes.retain(|mode| mode.name() == name);
                    if plan.modes.is_empty() {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(plan)
    }

    /// Returns the arguments of a process that runs in one mode.
    pub(super) fn args(&self, mode: Mode) -> [String; 6] {
        let (minutes, seed) = (self.minutes.to_string(), self.seed.to_string());
        ["--minutes", &minutes, "--mode", mode.name(), "--seed", &seed].map(str::to_owned)
    }

    pub(super) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// Returns how long load and faults last before each rest.
    pub(super) fn load_length(&self) -> Duration {
        (self.length() / 12).clamp(Duration::from_secs(20), Duration::from_secs(100))
    }
}

/// Opens the client of a run.
pub(super) fn open(nodes: Builder, mode: Mode) -> ReplicatedClient {
    // Short, so that a rest soon shows what is never closed: connections that are too many are looked for every 30 s.
    let builder = nodes.client_name(NAME).pool_size(16).idle_timeout(Duration::from_secs(2));
    builder.shared_connections(mode.shared_connections()).build().unwrap()
}

/// By this name servers know the connections of the client.
pub(super) const NAME: &str = "soak";
