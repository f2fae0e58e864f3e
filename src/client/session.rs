//! Handles with guarantees: they read their own writes, bound how stale a read may be, or have writes acknowledged.

use std::sync::Arc;
use std::time::Duration;

use super::{Options, ReplicatedClient};
use crate::session::{Acknowledgement, Guarantees, SHORTEST_BOUND, Session, Token};

/// Guarantees: sessions, bounds on staleness, acknowledged writes. Each method returns a new handle, [`token`](Self::token) apart.
impl ReplicatedClient {
    /// Returns a handle with a session of its own: its reads see what it has written, and never less than it has read.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let session = client.session();
    /// session.set("name", "Ada")?;                                    // on the master
    /// assert_eq!(session.get::<String>("name")?, "Ada");              // on a replica that has it
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// Reads stay on replicas. Each read is served only by a node that proves, along with the value, that it contains all that
    /// the session has seen (see [`SessionMode`](crate::SessionMode)). If a replica lags behind, one more is asked, and then
    /// the master. All clones of the handle share the session, and so do handles that [`read_from`](Self::read_from) and the
    /// like return. Typed commands, [`query`](Self::query), pipelines and [`connection`](Self::connection) take part in it;
    /// [`dedicated`](Self::dedicated) connections do not.
    ///
    /// The session holds across failovers, and while no master serves: a replica without a link proves what it had applied.
    /// Servers may still lose an acknowledged write. Then the session's next read fails once:
    ///
    /// * with [`ErrorKind::WriteLost`](crate::ErrorKind::WriteLost) if the master proves that something is lost that the
    ///   session wrote;
    /// * with [`ErrorKind::HistoryLost`](crate::ErrorKind::HistoryLost) if the session had only read it;
    /// * with [`ErrorKind::Unproven`](crate::ErrorKind::Unproven) if it is not known.
    ///
    /// After a write without a reply ([`Interrupted`](crate::ErrorKind::Interrupted)), the next read goes to the master.
    ///
    /// Expiry is the exception: a replica whose clock is ahead may treat a key as expired a little earlier.
    #[must_use]
    pub fn session(&self) -> Self {
        self.resume(&Token::default())
    }

    /// Returns what this handle's session has seen, to [`resume`](Self::resume) it elsewhere. `None`: the handle has no
    /// session. Sends nothing.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let session = client.session();
    /// session.set("name", "Ada")?;
    /// let cookie: Option<String> = session.token().map(|token| token.to_string());
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.options.guarantees.as_ref()?.session.as_deref().map(Session::token)
    }

    /// Returns a handle with a session of its own that has seen what a token carries, from this process or another one.
    ///
    /// The token must come from a client of the same set. If that client used another [`SessionMode`](crate::SessionMode), this
    /// session uses it too. After a failover, the token holds as long as the master still reports the history before its own, or
    /// if this client has seen that history. Otherwise, the first read fails with
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven), once.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// # let cookie = String::new();
    /// let session = client.resume(&cookie.parse()?);
    /// let name: Option<String> = session.get("name")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn resume(&self, token: &Token) -> Self {
        let session = Some(Arc::new(Session::resume(token, self.shared.session_mode)));
        self.with_guarantees(Guarantees { session, ..self.guarantees() })
    }

    /// Returns a handle whose reads are served only by nodes that contain everything written longer ago than `bound`.
    /// Default: no bound.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let fresh = client.max_staleness(Duration::from_secs(1));
    /// let stock: Option<u32> = fresh.get("stock")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// A node proves it along with the value, by replication offsets and this process's clock; the servers' clocks do not
    /// matter. If no replica can prove it, the master serves, as far as [`ReadFrom`](crate::ReadFrom) allows; a replica without
    /// a link to its master never can. From the first call of this method, the monitor asks the master twice within the bound,
    /// as long as the client lives. Several bounds, from 50 ms to hours, may be used at the same time; long ones are kept with a
    /// precision of one seventh.
    ///
    /// Without a monitor, or with a bound below 50 ms, only the master is fresh enough. With
    /// [`ReadFrom::Replica`](crate::ReadFrom::Replica), such a read fails at once with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable). If servers refuse `INFO`, reads fail with
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven).
    #[must_use]
    pub fn max_staleness(&self, bound: Duration) -> Self {
        let store = &self.router().store;
        if bound >= SHORTEST_BOUND && store.history().keep_pace(bound / 2) {
            store.request_check();
        }
        self.with_guarantees(Guarantees { max_staleness: Some(bound), ..self.guarantees() })
    }

    /// Returns a handle each of whose writes waits until that many replicas have acknowledged it, for at most `limit`. It sends
    /// `WAIT` in the same pipeline. Default: 0 replicas, no wait.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.acknowledged_by(1, Duration::from_millis(200)).set("order:17", "paid")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// The limit is rounded up to a millisecond, and is added to the response timeout and the deadline. If fewer replicas
    /// acknowledge the write, it fails with [`ErrorKind::Unacknowledged`](crate::ErrorKind::Unacknowledged) and their number,
    /// although it was applied. So it does, without a number, if the server refuses `WAIT`: the user needs the right `+wait`.
    /// A transaction or a pipeline is acknowledged as a whole.
    ///
    /// An acknowledged write survives the loss of the master if one of those replicas is promoted. Redis does not guarantee
    /// that one of them is.
    #[must_use]
    pub fn acknowledged_by(&self, replicas: u32, limit: Duration) -> Self {
        let acknowledgement = Some(Acknowledgement { replicas, limit });
        self.with_guarantees(Guarantees { acknowledgement, ..self.guarantees() })
    }

    /// Returns the guarantees of this handle.
    fn guarantees(&self) -> Guarantees {
        self.options.guarantees.clone().unwrap_or_default()
    }

    /// Returns a handle with other guarantees.
    fn with_guarantees(&self, guarantees: Guarantees) -> Self {
        self.with(Options { guarantees: Some(guarantees), ..self.options })
    }
}
