//! How a request reaches a server: one loop, for commands, pinned connections and connections of the user's own.
//!
//! [`Call`](machine::Call) decides without I/O what happens next and records what came of it; [`drive`](driver) does the I/O.
//! What sessions add around a call enters by one hook, [`Around`].

mod around;
mod attempt;
mod driver;
mod machine;
mod message;
mod pinned;
mod router;
#[cfg(test)]
mod tests;

pub(crate) use self::around::{Around, Plain, Unpacked};
pub(crate) use self::driver::{Served, connect, run};
pub(crate) use self::machine::{Obtained, Stop};
pub(crate) use self::pinned::Pinned;
pub(crate) use self::router::{CallOptions, Router};
