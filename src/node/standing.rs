//! How a node stands in the replication.

use std::fmt;

use serde::Serialize;

/// How a node stands in the replication, as the monitor sees it; apart from its health.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Standing {
    /// Nothing speaks against it: the master, or a replica that receives what the master writes. Also what is not known.
    InStep = 0,
    /// It is taking over the whole data from its master, or loading it.
    Syncing = 1,
    /// Its link to a master that lives is down: what it has gets older.
    CutOff = 2,
    /// It holds other data: another node claims mastership, or its replication history is not the master's.
    Stray = 3,
}

impl Standing {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            1 => Self::Syncing,
            2 => Self::CutOff,
            3 => Self::Stray,
            _ => Self::InStep,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InStep => "in step",
            Self::Syncing => "syncing",
            Self::CutOff => "cut off",
            Self::Stray => "stray",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;

    #[test]
    fn standings_survive_as_numbers() {
        for standing in [Standing::InStep, Standing::Syncing, Standing::CutOff, Standing::Stray] {
            assert_eq!(Standing::of(standing as u8), standing);
        }
    }
}
