//! A connection for one exchange: a lease, or a share of a connection on which many callers send.

use std::time::Instant;

use super::lease::Lease;
use super::limits::ReplyWait;
use super::shared::{Answered, Share};
use super::transport::TimeLimit;
use crate::classification::Request;
use crate::observe::CloseReason;
use crate::replication::{InfoEvidence, NoEvidence, Role};
use crate::retry::{Fault, Reply, Spent};

/// A connection for one exchange.
#[derive(Debug)]
pub(crate) enum Connection {
    /// The caller has it alone until it gives it back.
    Leased(Lease),
    Shared(Share),
}

impl Connection {
    /// Returns whether it can still be used.
    pub(crate) fn is_live(&self) -> bool {
        match self {
            Self::Leased(lease) => lease.is_live(),
            Self::Shared(share) => share.connection().is_open(),
        }
    }

    /// Returns whether the requests of one write have in common what the server says of itself.
    #[inline]
    pub(crate) fn shares_infos(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Returns whether the caller waited for a slot, for the connection or for its validation.
    #[inline]
    pub(crate) fn took_time(&self) -> bool {
        match self {
            Self::Leased(lease) => lease.took_time(),
            Self::Shared(share) => share.took_time(),
        }
    }

    /// Returns when it was last used, or opened.
    #[inline]
    pub(crate) fn last_used(&self) -> Option<Instant> {
        match self {
            Self::Leased(lease) => lease.last_used(),
            Self::Shared(share) => Some(share.connection().last_used()),
        }
    }

    /// Returns whether a request was answered on it.
    #[inline]
    pub(crate) fn has_served(&self) -> bool {
        match self {
            Self::Leased(lease) => lease.has_served(),
            Self::Shared(share) => share.connection().has_served(),
        }
    }

    /// Returns the role in the server's last answer, if it contained one.
    #[inline]
    pub(crate) fn role(&self) -> Option<Role> {
        match self {
            Self::Leased(lease) => lease.role(),
            Self::Shared(share) => share.connection().role(),
        }
    }

    /// Returns where the time of the caller went on the way to this connection, or in sending the last long request.
    pub(crate) fn take_spent(&mut self) -> Spent {
        match self {
            Self::Leased(lease) => lease.take_spent(),
            Self::Shared(share) => share.take_spent(),
        }
    }

    /// Closes it. A shared connection is closed when those that wait for a reply have gone.
    pub(crate) fn discard(&mut self, reason: CloseReason) {
        match self {
            Self::Leased(lease) => lease.discard(reason),
            Self::Shared(share) => share.connection().retire(reason),
        }
    }

    /// Keeps a lease from being lent again while a transaction or a watch is open on it.
    pub(crate) fn hold(&mut self) {
        if let Self::Leased(lease) = self {
            lease.hold();
        }
    }

    /// Allows a lease to be lent again, because the transaction has ended.
    pub(crate) fn release(&mut self) {
        if let Self::Leased(lease) = self {
            lease.release();
        }
    }

    /// Records that a request was answered at `now`.
    #[inline]
    pub(crate) fn served(&mut self, now: Instant) {
        // A shared connection knows by itself when replies come.
        if let Self::Leased(lease) = self {
            lease.served(now);
        }
    }

    /// Asks the server for its role. The answer proves that the connection works.
    pub(crate) fn ask_role(&mut self, wait: ReplyWait) -> Result<(), Fault> {
        match self {
            Self::Leased(lease) => lease.ask_role(wait.end.unwrap_or(wait.now + wait.response)),
            Self::Shared(share) => share.ask_role(wait),
        }
    }

    /// Sends a request and waits for its reply.
    #[inline]
    pub(crate) fn send(&mut self, request: &Request<'_>, wait: ReplyWait) -> Result<Reply, Fault> {
        match self {
            Self::Leased(lease) => lease.send(request, TimeLimit::until(wait.end, wait.now)),
            Self::Shared(share) => share.connection().send(request, false, wait).map(|answered| answered.reply),
        }
    }

    /// Sends a request and returns what the server said of itself before and after it, if the connection is shared: the requests
    /// of one write have that in common. On a lease, nothing is said.
    #[inline]
    pub(crate) fn send_between_infos(
        &mut self,
        request: &Request<'_>,
        wait: ReplyWait,
    ) -> Result<(Reply, InfoEvidence, InfoEvidence), Fault> {
        let nothing = || Err(NoEvidence::default());
        match self {
            Self::Leased(_) => self.send(request, wait).map(|reply| (reply, nothing(), nothing())),
            Self::Shared(share) => share.connection().send(request, true, wait).map(|Answered { reply, infos }| {
                let both = infos.map(|infos| (infos.before.clone(), infos.after.clone()));
                let (before, after) = both.unwrap_or_else(|| (nothing(), nothing()));
                (reply, before, after)
            }),
        }
    }
}
