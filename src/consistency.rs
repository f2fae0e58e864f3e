//! What a caller has seen of the replication history, and what a node's reply proves about it. Decisions only, no I/O.
//!
//! A master numbers the bytes that it writes to its replicas: the *offset*. The numbers belong to a *history*, which has a
//! random name, the replication id. After a promotion the new master goes on in a history of its own, and tells the name of
//! the one before and where the two parted. So (id, offset) says exactly which writes a node contains, whatever its clock.

use serde::{Deserialize, Serialize};

mod evidence;
mod lineage;
mod position;
mod session;
mod timeline;
mod token;

pub(crate) use self::evidence::{Evidence, Proof, Standpoint};
pub(crate) use self::lineage::{Lineage, Relation};
pub(crate) use self::position::{HistoryId, Position};
pub(crate) use self::session::{Demand, Loss, Session, Step};
pub(crate) use self::timeline::Timeline;
pub(crate) use self::token::Seen;
pub use self::token::{ParseTokenError, Token};

/// How a session proves what it reads.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionMode {
    /// By the server's own account of its replication history. The default.
    #[default]
    Strict,
}
