//! What servers say of the replication: roles, replication ids, positions, and which history contains which.
//!
//! A master numbers the bytes that it writes to its replicas: the *offset*. The numbers belong to a *history*, which has a
//! random name, the replication id. After a promotion the new master continues in a history of its own, and reports the id of
//! the one before and the offset at which the two parted. So (id, offset) says exactly which writes a node contains.

mod ancestry;
mod evidence;
#[cfg(test)]
mod model;
mod position;
mod report;
mod role;
mod timeline;

pub(crate) use self::ancestry::{Ancestry, Relation};
#[cfg(test)]
pub(crate) use self::evidence::tests as examples;
pub(crate) use self::evidence::{Evidence, EvidenceSource, Proof};
pub(crate) use self::position::{Position, ReplicationId};
pub(crate) use self::report::{MOST_FOLLOWERS, Report, addr_of, role_of};
pub use self::role::Role;
pub(crate) use self::timeline::Timeline;
