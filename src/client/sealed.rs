//! A request in the form in which its session sends it.

use super::envelope::{Account, Confirmed, Envelope, Opened};
use super::fence::{Fenced, OpenedFence, Word};
use crate::classification::Request;
use crate::retry::Reply;
use crate::session::{Raise, Requirement};

/// A request with what proves its reply.
#[derive(Debug)]
pub(super) enum Sealed {
    Account(Envelope),
    Fence(Fenced),
}

/// A reply, unwrapped.
#[derive(Debug)]
pub(super) struct Unsealed {
    pub(super) reply: Reply,
    pub(super) told: Told,
    /// How many replicas confirmed it.
    pub(super) confirmed: Option<Confirmed>,
    /// It was refused only because a transaction was put around it.
    pub(super) is_spoiled: bool,
}

/// What a server said beside its reply.
#[derive(Debug)]
pub(super) enum Told {
    Nothing,
    Accounts { before: Option<Account>, after: Option<Account> },
    Fence(Word),
}

impl Sealed {
    /// Returns the form without a transaction, if this one has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>, requirement: &Requirement) -> Option<Box<Self>> {
        let plain = match self {
            Self::Account(envelope) => Self::Account(envelope.without_transaction(request)?),
            Self::Fence(fenced) => Self::Fence(fenced.without_transaction(request, requirement)?),
        };
        Some(Box::new(plain))
    }

    /// How the session's fence is raised, if it is.
    pub(super) fn raise(&self) -> Option<Raise> {
        match self {
            Self::Account(_) => None,
            Self::Fence(fenced) => fenced.raise(),
        }
    }

    pub(super) fn sealed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        match self {
            Self::Account(envelope) => envelope.sealed(request),
            Self::Fence(fenced) => fenced.sealed(request),
        }
    }

    pub(super) fn open(&self, request: &Request<'_>, reply: Reply) -> Unsealed {
        match self {
            Self::Account(envelope) => {
                let Opened { reply, before, after, confirmed, is_spoiled } = envelope.open(request, reply);
                Unsealed { reply, told: Told::Accounts { before, after }, confirmed, is_spoiled }
            }
            Self::Fence(fenced) => {
                let OpenedFence { reply, word, confirmed, is_spoiled } = fenced.open(request, reply);
                Unsealed { reply, told: Told::Fence(word), confirmed, is_spoiled }
            }
        }
    }
}

impl From<Reply> for Unsealed {
    /// Of a request that was sent as it was.
    #[inline]
    fn from(reply: Reply) -> Self {
        Self { reply, told: Told::Nothing, confirmed: None, is_spoiled: false }
    }
}
