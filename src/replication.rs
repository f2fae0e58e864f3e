//! What servers say of the replication: roles, replication ids, positions, and which history contains which position.
//!
//! A master numbers the bytes that it writes to its replicas: the *offset*. The numbers belong to a *history*, which has a
//! random name, the *replication id*. After a promotion, the new master continues in a history of its own. It reports the id
//! of the earlier history and the first offset at which the two differ. So a *position*, an id with an offset, says exactly
//! which writes a node contains.
//!
//! `INFO` and `ROLE` are read here and nowhere else: into a [`Report`] for the monitor, into [`Evidence`] for a session's
//! call. [`History`] has the one rule that says whether a history contains a position. [`Ancestry`] applies it through
//! several failovers. How much a server's word is worth is decided in one file, `source`.

mod ancestry;
mod evidence;
#[cfg(test)]
pub(crate) mod examples;
mod history;
mod info;
#[cfg(test)]
mod model;
mod position;
mod reply;
mod report;
mod role;
mod source;
mod timeline;

pub(crate) use self::ancestry::Ancestry;
pub(crate) use self::evidence::{Evidence, INFO, InfoEvidence, NoEvidence, Proof, evidence_of};
pub(crate) use self::history::{History, Relation};
pub(crate) use self::position::{Position, ReplicationId};
pub(crate) use self::reply::{role_in_reply, text_of};
pub(crate) use self::report::{MOST_FOLLOWERS, Report, addr_of};
pub use self::role::Role;
pub(crate) use self::source::EvidenceSource;
pub(crate) use self::timeline::Timeline;
