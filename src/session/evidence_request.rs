//! A request with what proves its reply: `INFO`, or the counter of a fence.

use super::fence_request::{FenceEvidence, FenceRequest, UnpackedFence};
use super::info_request::{Confirmed, InfoEvidence, InfoRequest, UnpackedInfo};
use super::state::{Raise, Requirement};
use crate::call::Unpacked;
use crate::classification::Request;
use crate::retry::Reply;

/// A request with what proves its reply.
#[derive(Debug)]
pub(super) enum EvidenceRequest {
    Info(InfoRequest),
    Fence(FenceRequest),
}

/// What a server said beside its reply.
#[derive(Debug)]
pub(crate) enum Shown {
    Nothing,
    Info { before: Option<InfoEvidence>, after: Option<InfoEvidence> },
    Fence(FenceEvidence),
}

impl EvidenceRequest {
    /// Returns the form without a transaction, if this one has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>, requirement: &Requirement) -> Option<Self> {
        Some(match self {
            Self::Info(info) => Self::Info(info.without_transaction(request)?),
            Self::Fence(fence) => Self::Fence(fence.without_transaction(request, requirement)?),
        })
    }

    /// How the session's fence is raised, if it is.
    pub(super) fn raise(&self) -> Option<Raise> {
        match self {
            Self::Info(_) => None,
            Self::Fence(fence) => fence.raise(),
        }
    }

    pub(super) fn packed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        match self {
            Self::Info(info) => info.packed(request),
            Self::Fence(fence) => fence.packed(request),
        }
    }

    /// Takes what proves a reply out of the replies.
    pub(super) fn unpack(&self, request: &Request<'_>, reply: Reply) -> Unpacked<(Shown, Option<Confirmed>)> {
        let (reply, shown, confirmed, is_refused_in_this_form) = match self {
            Self::Info(info) => {
                let UnpackedInfo { reply, before, after, confirmed, is_refused_in_this_form } =
                    info.unpack(request, reply);
                (reply, Shown::Info { before, after }, confirmed, is_refused_in_this_form)
            }
            Self::Fence(fence) => {
                let UnpackedFence { reply, evidence, confirmed, is_refused_in_this_form } =
                    fence.unpack(request, reply);
                (reply, Shown::Fence(evidence), confirmed, is_refused_in_this_form)
            }
        };
        Unpacked { reply, evidence: (shown, confirmed), is_refused_in_this_form }
    }
}
