//! Handles that read what they wrote, bound how stale a read may be, or have writes confirmed.

use std::sync::Arc;
use std::time::Duration;

use super::{Options, ReplicatedClient};
use crate::session::{Asked, Confirmation, SHORTEST_BOUND, Session, Token};

impl ReplicatedClient {
    /// Returns a handle with a session of its own: its reads see what it has written, and never less than what it has read.
    ///
    /// Reads stay on replicas. Each one is served only by a node that proves, in the reply that carries the value, to contain
    /// all that the session has seen, by what it says beside it (see [`SessionMode`](crate::SessionMode)). A replica that lags
    /// behind is passed over: one more is asked, then the master. All clones of the handle share the session, and so do the
    /// handles made of it by [`read_from`](Self::read_from) and the like; typed helpers, [`query`](Self::query), pipelines
    /// and [`connection`](Self::connection) all take part. Not [`dedicated`](Self::dedicated).
    ///
    /// It holds across failovers, and while no master serves: a replica without a link proves what it had applied. What an
    /// acknowledged write promised may still be lost by the servers: then the session's next read fails with
    /// [`ErrorKind::WriteLost`](crate::ErrorKind::WriteLost), once and only if the master proves it. Of what the session has
    /// only read, it is [`ErrorKind::HistoryLost`](crate::ErrorKind::HistoryLost). Where nobody can tell, it is
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven). A write without a reply
    /// ([`Interrupted`](crate::ErrorKind::Interrupted)) sends the next read to the master.
    ///
    /// Time to live is the exception: a replica whose clock is ahead may take a key for expired a little earlier.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let session = client.session();
    /// session.set("name", "Ada")?;                                    // on the master
    /// assert_eq!(session.get::<String>("name")?, "Ada");              // on a replica that has it
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    #[must_use]
    pub fn session(&self) -> Self {
        self.resume(&Token::default())
    }

    /// Returns what this handle's session has seen, to [`resume`](Self::resume) it elsewhere. `None`: the handle has no
    /// session. Sends nothing.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.options.asked.as_ref()?.session.as_deref().map(Session::token)
    }

    /// Returns a handle with a session of its own that has seen what the token has seen, in this process or in another.
    ///
    /// The token must come from a client of the same set. What a client of the other [`SessionMode`](crate::SessionMode) has seen is
    /// proven in the way of that mode. After a failover it is good for as long as the master remembers the
    /// history before its own, or this client saw it itself; after that it is [`ErrorKind::Unproven`](crate::ErrorKind::Unproven),
    /// once.
    #[must_use]
    pub fn resume(&self, token: &Token) -> Self {
        let session = Some(Arc::new(Session::resume(token, self.shared.session_mode)));
        self.asking(Asked { session, ..self.asked() })
    }

    /// Returns a handle whose reads are served only by nodes that contain everything written longer ago than `bound`.
    /// Default: no bound.
    ///
    /// A node proves it in the reply that carries the value, by offsets and this process's own clock; no server's clock
    /// matters. Nodes that cannot, such as a replica without a link to its master, are passed over: then the master serves, as
    /// far as [`ReadFrom`](crate::ReadFrom) lets it. The monitor asks the master twice in that time from then on, for as long as
    /// the client lives; bounds of 50 ms and of hours are kept side by side, a long one to within a seventh. Without a monitor,
    /// or with a bound below 50 ms, only the master is fresh enough: where only replicas are read, such a read fails at once
    /// with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable). Servers that refuse `INFO` fail such reads with
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven).
    #[must_use]
    pub fn max_staleness(&self, bound: Duration) -> Self {
        let store = &self.router().store;
        if bound >= SHORTEST_BOUND && store.history().keep_pace(bound / 2) {
            store.request_check();
        }
        self.asking(Asked { max_staleness: Some(bound), ..self.asked() })
    }

    /// Returns a handle each of whose writes waits until that many replicas have confirmed it, for `limit` at most: `WAIT`,
    /// in the same pipeline. 0 replicas: no wait, the default.
    ///
    /// The limit is rounded up to a millisecond, and comes on top of response limit and deadline. Too few is
    /// [`ErrorKind::Unacknowledged`](crate::ErrorKind::Unacknowledged) with their number; the write itself has been applied.
    /// So it is, without a number, where the server refuses `WAIT`: the user needs the right `+wait`.
    /// A confirmed write survives the loss of the master if one of those replicas takes its place: nobody makes sure that
    /// one of them does. What a transaction or a pipeline wrote is confirmed as a whole.
    #[must_use]
    pub fn acknowledged_by(&self, replicas: u32, limit: Duration) -> Self {
        let confirmation = Some(Confirmation { replicas, limit });
        self.asking(Asked { confirmation, ..self.asked() })
    }

    fn asked(&self) -> Asked {
        self.options.asked.clone().unwrap_or_default()
    }

    fn asking(&self, asked: Asked) -> Self {
        self.with(Options { asked: Some(asked), ..self.options })
    }
}
