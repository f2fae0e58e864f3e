//! The line to a server: a connection that is ready for one exchange, with its time limits.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::limits::ReplyWait;
use crate::classification::Request;
use crate::replication::InfoEvidence;
use crate::retry::{Fault, Reply, reply_end};

/// A connection for one exchange, with its time limits.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) response: Duration,
    pub(crate) now: Instant,
    /// When the attempt must be over. `None`: never.
    pub(crate) end: Option<Instant>,
}

impl Line<'_> {
    /// Sends a request and waits for its reply.
    #[inline]
    pub(crate) fn send(self, request: &Request<'_>) -> Result<Reply, Fault> {
        let wait = self.wait(request);
        self.connection.send(request, wait)
    }

    /// Returns whether the server says on this line before and after a request what it contains, for many callers at once.
    #[inline]
    pub(crate) fn shares_infos(&self) -> bool {
        self.connection.shares_infos()
    }

    /// Sends a request and returns what the server said before and after it. Only where it [says so](Self::shares_infos).
    pub(crate) fn send_between_infos(
        self,
        request: &Request<'_>,
    ) -> Result<(Reply, InfoEvidence, InfoEvidence), Fault> {
        let wait = self.wait(request);
        self.connection.send_between_infos(request, wait)
    }

    fn wait(&self, request: &Request<'_>) -> ReplyWait {
        let end = reply_end(self.response, request.block, self.now, self.end);
        ReplyWait { now: self.now, end, response: self.response }
    }
}
