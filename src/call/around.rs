//! The hook of a call: what is added around its request and its reply.

use std::time::Instant;

use crate::classification::{Block, Request};
use crate::retry::{Fault, Reply};
use crate::selection::Suits;
use crate::topology::{Assigned, Topology};

/// What has to hold of a reply, beside being a reply. [`Plain`] asks for nothing.
pub(crate) trait Around {
    /// What a server says beside its reply.
    type Evidence;

    /// Returns whether a server can prove the reply.
    #[inline]
    fn rank(&self, _topology: &Topology, _server: &Assigned, _now: Instant) -> Suits {
        Suits::Likely
    }

    /// Sends the request in the form in which this server proves its reply, and takes what was added out of what comes
    /// back. Returns also how long the request blocks in that form.
    fn exchange(
        &self,
        request: &Request<'_>,
        server: &Assigned,
        now: Instant,
        send: impl FnOnce(&Request<'_>) -> Result<Reply, Fault>,
    ) -> (Block, Result<Unpacked<Self::Evidence>, Fault>);

    /// Returns the reply if it holds what was asked for; else what the caller is told, and whether another server may hold it.
    fn verify(
        &self,
        request: &Request<'_>,
        server: &Assigned,
        unpacked: Unpacked<Self::Evidence>,
    ) -> Result<Reply, Fault>;

    /// Records that the request ended without a complete reply.
    #[inline]
    fn record_fault(&self, _request: &Request<'_>, _fault: &Fault) {}

    /// Returns why only the master can serve the request, where that is so.
    fn why_master(&self) -> Option<&'static str> {
        None
    }
}

/// A reply without what was added to it.
#[derive(Debug)]
pub(crate) struct Unpacked<E> {
    pub(crate) reply: Reply,
    pub(crate) evidence: E,
    /// The request was refused only because of what was added.
    pub(crate) is_refused_in_this_form: bool,
}

/// Adds nothing.
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
        send: impl FnOnce(&Request<'_>) -> Result<Reply, Fault>,
    ) -> (Block, Result<Unpacked<()>, Fault>) {
        let sent = send(request);
        (request.block, sent.map(|reply| Unpacked { reply, evidence: (), is_refused_in_this_form: false }))
    }

    #[inline]
    fn verify(&self, _: &Request<'_>, _: &Assigned, unpacked: Unpacked<()>) -> Result<Reply, Fault> {
        Ok(unpacked.reply)
    }
}
