//! What is set in a configuration.

use std::time::Duration;

use super::Config;
use crate::selection::ReadFrom;

/// What is set. `None`: the client uses the default of the [`Builder`](crate::Builder).
impl Config {
    /// Returns the name of the service that the Sentinels watch. `None`: the set is not found by Sentinels.
    ///
    /// ```
    /// use redis_replicated::Config;
    ///
    /// let config = Config::from_url("redis-sentinel://app:secret@10.0.0.7,10.0.0.8/2?sentinelMasterId=main&deadline=2s")?;
    /// assert_eq!((config.service(), config.username(), config.database()), (Some("main"), Some("app"), Some(2)));
    /// assert_eq!((config.deadline(), config.pool_size()), (Some(std::time::Duration::from_secs(2)), None));
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.sentinel.as_ref().map(|sentinel| &*sentinel.service)
    }

    /// Returns the user of `login`, the login at found nodes. Addresses may contain users of their own.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.login.as_ref()?.username.as_deref()
    }

    /// Returns the database of `login`. Addresses may contain databases of their own.
    #[must_use]
    pub fn database(&self) -> Option<u32> {
        self.login.as_ref().map(|login| login.database)
    }

    /// Returns the name of the strategy, as it was written.
    #[must_use]
    pub fn strategy(&self) -> Option<&str> {
        self.strategy.as_deref()
    }

    /// Returns the read preference.
    #[must_use]
    pub fn read_from(&self) -> Option<ReadFrom> {
        self.read_from
    }

    /// Returns the zone of the client.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Returns the name that connections give themselves.
    #[must_use]
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// Returns how many connections to each node may be open at once.
    #[must_use]
    pub fn pool_size(&self) -> Option<u32> {
        self.pool_size
    }

    /// Returns how long a call may take.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}
