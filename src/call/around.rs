//! The hook of a call: what is sent along with its request, and what its reply has to prove.

use std::time::Instant;

use crate::classification::{Block, Request};
use crate::pool::Line;
use crate::retry::{Fault, Reply};
use crate::selection::Likelihood;
use crate::topology::{Assigned, Topology};

/// What a call adds to its request, and requires of its reply. [`Plain`] adds and requires nothing.
pub(crate) trait Around {
    /// What a server says about itself beside its reply.
    type Evidence;

    /// Returns how likely a server is to prove the reply.
    #[inline]
    fn likelihood(&self, _topology: &Topology, _server: &Assigned, _now: Instant) -> Likelihood {
        Likelihood::Likely
    }

    /// Sends the request with the evidence request for this server, and separates the evidence from the reply. Also returns how
    /// long the request blocks in that form.
    fn exchange(
        &self,
        request: &Request<'_>,
        server: &Assigned,
        now: Instant,
        line: Line<'_>,
    ) -> (Block, Result<Unpacked<Self::Evidence>, Fault>);

    /// Returns whether other callers may send on the same connection, as far as the additions are concerned.
    fn may_share(&self) -> bool {
        true
    }

    /// Returns the reply if the evidence proves what is required; else the fault with the caller's error.
    fn verify(
        &self,
        request: &Request<'_>,
        server: &Assigned,
        unpacked: Unpacked<Self::Evidence>,
    ) -> Result<Reply, Fault>;

    /// Records that the exchange ended with a fault.
    #[inline]
    fn record_fault(&self, _request: &Request<'_>, _fault: &Fault) {}

    /// Returns why only the master can serve the request; `None`: replicas can too.
    fn why_master(&self) -> Option<&'static str> {
        None
    }
}

/// A reply and the evidence that came with it.
#[derive(Debug)]
pub(crate) struct Unpacked<E> {
    pub(crate) reply: Reply,
    pub(crate) evidence: E,
    /// The server refused the request only because of the transaction around it.
    pub(crate) is_transaction_refused: bool,
}

/// The hook of a call without a session, staleness bound or acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

impl Around for Plain {
    type Evidence = ();

    #[inline]
    fn exchange(
        &self,
        request: &Request<'_>,
        _: &Assigned,
        _: Instant,
        line: Line<'_>,
    ) -> (Block, Result<Unpacked<()>, Fault>) {
        let sent = line.send(request);
        (request.block, sent.map(|reply| Unpacked { reply, evidence: (), is_transaction_refused: false }))
    }

    #[inline]
    fn verify(&self, _: &Request<'_>, _: &Assigned, unpacked: Unpacked<()>) -> Result<Reply, Fault> {
        Ok(unpacked.reply)
    }
}
