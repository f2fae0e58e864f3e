//! What a command is, and therefore where it may go.
//!
//! A [`Classifier`] looks a command up in a static table that covers Redis to 8.10, Valkey to 9.1, their modules and
//! Dragonfly. Where the arguments decide (`EVAL` with `no-writes`, `FT.AGGREGATE … WITHCURSOR`), it reads them. A command
//! that is not in the table is a [`Write`](Classification::Write). Nothing here allocates, and nothing does I/O.

mod arguments;
mod class;
mod classifier;
mod echo;
mod request;
mod table;

pub(crate) use self::arguments::{Block, Cursor, TransactionStep};
pub use self::class::Classification;
pub use self::classifier::Classifier;
pub(crate) use self::request::{Replies, Request};
