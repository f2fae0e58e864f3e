//! The read preference: which roles may serve a read, and in what order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::spelling::alike;

/// Which roles may serve a read, and in what order.
///
/// Replicas follow their master asynchronously: only reads from the master are sure to see the latest write.
///
/// A read on a replica does not touch the key on the master: with `maxmemory-policy` `allkeys-lru` or `allkeys-lfu`, the
/// master evicts by what *it* serves. Where that matters, `TOUCH` the keys that are read a lot: it goes to the master.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// The master only.
    Master,
    /// The master; replicas if it is ejected or the attempt on it failed.
    MasterPreferred,
    /// Replicas only. Without a replica: [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    Replica,
    /// Replicas; the master if none of them can serve. The default.
    #[default]
    ReplicaPreferred,
    /// The master and the replicas alike.
    Any,
}

impl ReadFrom {
    pub(super) const ALL: [Self; 5] =
        [Self::Master, Self::MasterPreferred, Self::Replica, Self::ReplicaPreferred, Self::Any];
}

/// A text that names no read preference.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a read preference: expected master, master_preferred, replica, replica_preferred or any")]
pub struct ParseReadFromError(());

impl FromStr for ReadFrom {
    type Err = ParseReadFromError;

    /// Reads `replica_preferred`, `replica-preferred` or `ReplicaPreferred`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let same = |preference: &Self| alike(text, &preference.to_string());
        Self::ALL.into_iter().find(same).ok_or(ParseReadFromError(()))
    }
}

impl<'de> Deserialize<'de> for ReadFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::ReadFrom;

    #[test]
    fn preferences_are_read_in_any_spelling() {
        for text in ["replica_preferred", "replica-preferred", "ReplicaPreferred"] {
            assert_eq!(text.parse(), Ok(ReadFrom::ReplicaPreferred));
        }
        assert!("secondary".parse::<ReadFrom>().is_err());
        assert_eq!(ReadFrom::default(), ReadFrom::ReplicaPreferred);
    }
}
