//! One server process: its address, its role, its sync state, its measurements and its health.
//!
//! A node knows no pool and no socket, and makes no events. Other modules record here the results of attempts and of the
//! monitor's questions; selection and strategies read them. Calls touch atomics only: a call that is answered takes no lock
//! here.

mod health;
mod heartbeat;
mod latency;
mod percentiles;
mod record;
mod state;
mod sync_state;

pub(crate) use self::health::Ejection;
pub use self::health::Health;
pub(crate) use self::latency::{Measured, Moment};
pub use self::percentiles::Percentiles;
pub use self::record::Outcome;
pub use self::state::{InFlight, Node};
pub use self::sync_state::SyncState;
