//! The read preference: which roles may serve a read, and in what order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::replication::Role;
use crate::spelling::alike;

/// The read preference: which roles may serve a read, and in what order.
///
/// Replication is asynchronous: only reads from the master are certain to see the latest write.
///
/// A read on a replica does not count as a use of the key on the master. With `maxmemory-policy` `allkeys-lru` or
/// `allkeys-lfu`, the master evicts by the reads that *it* serves. Where that matters, send `TOUCH` for keys that are read
/// often: it goes to the master.
///
/// ```no_run
/// use redis_replicated::ReadFrom;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let greeting: Option<String> = client.read_from(ReadFrom::Master).get("greeting")?;
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// The master only.
    Master,
    /// The master; replicas if the master is ejected or the attempt on it failed.
    MasterPreferred,
    /// Replicas only. Without a replica: [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    Replica,
    /// Replicas; the master if none of them can serve. The default.
    #[default]
    ReplicaPreferred,
    /// The master and the replicas, without preference.
    Any,
}

/// The order in which a read preference asks the roles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Preference {
    First,
    /// Only where no server of the first choice is left.
    Second,
}

impl ReadFrom {
    /// Returns in which order this role is asked; `None`: never. All that a preference means is decided here and in
    /// [`limits_fallback_reads`](Self::limits_fallback_reads).
    #[inline]
    pub(super) fn preference(self, role: Role) -> Option<Preference> {
        match (self, role) {
            (Self::Master | Self::MasterPreferred, Role::Master)
            | (Self::Replica | Self::ReplicaPreferred, Role::Replica)
            | (Self::Any, _) => Some(Preference::First),
            (Self::MasterPreferred, Role::Replica) | (Self::ReplicaPreferred, Role::Master) => Some(Preference::Second),
            (Self::Master, Role::Replica) | (Self::Replica, Role::Master) => None,
        }
    }

    /// Returns whether reads may go to a server of this role.
    pub(crate) fn includes(self, role: Role) -> bool {
        self.preference(role).is_some()
    }

    /// Returns whether reads that the master serves because no replica can need a permit.
    pub(super) fn limits_fallback_reads(self) -> bool {
        match self {
            Self::ReplicaPreferred => true,
            Self::Master | Self::MasterPreferred | Self::Replica | Self::Any => false,
        }
    }

    pub(super) const ALL: [Self; 5] =
        [Self::Master, Self::MasterPreferred, Self::Replica, Self::ReplicaPreferred, Self::Any];
}

/// The error for a text that names no read preference.
///
/// ```
/// use redis_replicated::{ParseReadFromError, ReadFrom};
///
/// let parsed: Result<ReadFrom, ParseReadFromError> = "secondary".parse();
/// assert!(parsed.is_err());
/// assert_eq!("replica_preferred".parse(), Ok(ReadFrom::ReplicaPreferred));
/// ```
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
