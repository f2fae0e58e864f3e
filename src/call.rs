//! Calls: one loop brings a request to a server, whether it is a command, a pinned connection or a dedicated one.
//!
//! [`Call`](machine::Call) decides without I/O what happens next; the [`driver`] does the I/O. What sessions add to a call enters
//! through one hook, [`Around`].

mod around;
mod attempt;
mod driver;
mod machine;
mod pinned;
mod router;
#[cfg(test)]
mod tests;

pub(crate) use self::around::{Around, Plain, Unpacked};
pub(crate) use self::driver::{Served, connect, run};
pub(crate) use self::machine::{Obtained, Stop};
pub(crate) use self::pinned::Pinned;
pub(crate) use self::router::{CallOptions, Router};
