//! Evidence requests: a request together with `INFO`, or with the counter of a fence.
//!
//! The two kinds are in [`info_request`](super::info_request) and [`fence_request`](super::fence_request).

use super::fence_request::{FenceEvidence, FenceRequest};
use super::info_request::{Acknowledged, InfoRequest, UnpackedInfo};
use super::state::{Raise, Requirement};
use crate::call::Unpacked;
use crate::classification::Request;
use crate::replication::InfoEvidence;
use crate::retry::Reply;

/// A request together with what is sent along to prove its reply.
#[derive(Debug)]
pub(super) enum EvidenceRequest {
    Info(InfoRequest),
    Fence(FenceRequest),
}

/// The evidence that came with a reply.
#[derive(Debug)]
pub(crate) enum ReplyEvidence {
    Nothing,
    Info { before: Option<InfoEvidence>, after: Option<InfoEvidence> },
    Fence(FenceEvidence),
}

impl EvidenceRequest {
    /// Returns the same request without its transaction, if it has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>, requirement: &Requirement) -> Option<Self> {
        Some(match self {
            Self::Info(info) => Self::Info(info.without_transaction(request)?),
            Self::Fence(fence) => Self::Fence(fence.without_transaction(request, requirement)?),
        })
    }

    /// Returns how the request raises the session's fence, if it does.
    pub(super) fn raise(&self) -> Option<Raise> {
        match self {
            Self::Info(_) => None,
            Self::Fence(fence) => fence.raise(),
        }
    }

    /// Returns the request as it is sent.
    pub(super) fn packed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        match self {
            Self::Info(info) => info.packed(request),
            Self::Fence(fence) => fence.packed(request),
        }
    }

    /// Separates the evidence from the reply.
    pub(super) fn unpack(
        &self,
        request: &Request<'_>,
        reply: Reply,
    ) -> Unpacked<(ReplyEvidence, Option<Acknowledged>)> {
        let (reply, evidence, acknowledged, is_transaction_refused) = match self {
            Self::Info(info) => {
                let UnpackedInfo { reply, before, after, acknowledged, is_transaction_refused } =
                    info.unpack(request, reply);
                (reply, ReplyEvidence::Info { before, after }, acknowledged, is_transaction_refused)
            }
            Self::Fence(fence) => {
                let Unpacked { reply, evidence, is_transaction_refused } = fence.unpack(request, reply);
                (reply, ReplyEvidence::Fence(evidence.0), evidence.1, is_transaction_refused)
            }
        };
        Unpacked { reply, evidence: (evidence, acknowledged), is_transaction_refused }
    }
}
