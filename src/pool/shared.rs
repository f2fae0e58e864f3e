//! Shared connections: callers put their requests into one write, and take their replies out of one read.
//!
//! A round trip costs the same for one request as for thirty. With many callers at a node, sharing makes a call several times
//! cheaper than a connection for each of them, and its slowest calls several times faster. Each caller keeps its own deadline,
//! and nothing is sent a second time here.
//!
//! [`Queue`](queue::Queue) knows whose reply comes next. [`Roles`](roles::Roles) lets one caller write and one read for all.
//! [`SharedConnection`] is what this is on a socket, and [`Sharing`] decides when calls share.

mod batches;
mod connection;
mod halves;
mod lock;
mod queue;
mod roles;
mod share;
mod sharing;
mod transaction;

pub(crate) use self::batches::BatchCounts;
pub(crate) use self::connection::SharedConnection;
pub(crate) use self::queue::Answered;
pub(crate) use self::share::Share;
pub(crate) use self::sharing::Sharing;
