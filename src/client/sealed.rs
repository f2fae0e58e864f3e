//! A request in the form in which its session sends it.

use super::envelope::{Account, Envelope, Opened};
use super::fence::{Fenced, OpenedFence, Word};
use crate::classification::Request;
use crate::routing::Reply;

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
    pub(super) confirmed: Option<u32>,
}

/// What a server said beside its reply.
#[derive(Debug)]
pub(super) enum Told {
    Nothing,
    Accounts { before: Option<Account>, after: Option<Account> },
    Fence(Word),
}

impl Sealed {
    pub(super) fn sealed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        match self {
            Self::Account(envelope) => envelope.sealed(request),
            Self::Fence(fenced) => fenced.sealed(request),
        }
    }

    pub(super) fn open(&self, request: &Request<'_>, reply: Reply) -> Unsealed {
        match self {
            Self::Account(envelope) => {
                let Opened { reply, before, after, confirmed } = envelope.open(request, reply);
                Unsealed { reply, told: Told::Accounts { before, after }, confirmed }
            }
            Self::Fence(fenced) => {
                let OpenedFence { reply, word, confirmed } = fenced.open(request, reply);
                Unsealed { reply, told: Told::Fence(word), confirmed }
            }
        }
    }
}

impl From<Reply> for Unsealed {
    /// Of a request that was sent as it was.
    #[inline]
    fn from(reply: Reply) -> Self {
        Self { reply, told: Told::Nothing, confirmed: None }
    }
}
