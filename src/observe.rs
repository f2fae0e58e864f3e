//! Observers: what went where, how long it took, and why, as events.
//!
//! A client tells its observers ([`Builder::observer`](crate::Builder::observer)) what happens: calls and their attempts,
//! connections, the nodes' health and state, the topology, and what sessions prove. An observer says once, by [`Interest`],
//! which of these it wants. What no observer wants is not made: a call of a client without observers pays for one branch.
//!
//! ```no_run
//! use redis_replicated::observe::{Event, Interest, Observer};
//! use redis_replicated::ReplicatedClient;
//!
//! #[derive(Debug)]
//! struct Failures;
//!
//! impl Observer for Failures {
//!     fn observe(&self, event: &Event<'_>) {
//!         if let Event::Call(call) = event
//!             && let Some(kind) = call.error_kind()
//!         {
//!             eprintln!("{} failed after {:?}: {kind}", call.operation(), call.took());
//!         }
//!     }
//!
//!     fn interest(&self) -> Interest {
//!         Interest::CALLS
//!     }
//! }
//!
//! let client = ReplicatedClient::builder().master("redis://127.0.0.1:6379").observer(Failures).build()?;
//! # Ok::<(), redis_replicated::Error>(())
//! ```
//!
//! Events contain no keys, no values and no arguments. The times are of this process's monotonic clock.
//!
//! # Logs
//!
//! Beside the observers, the client writes to `tracing`. Slow and rare facts have the target `redis_replicated::events`, and
//! their name in the field `event`. Values are plain: addresses, words in snake case, numbers, times such as `513 ms`, lists such
//! as `127.0.0.1:6380,127.0.0.1:6381`, and `none`. Each event is one fact, and is not repeated while nothing changes.
//!
//! | event | level | fields | when |
//! |---|---|---|---|
//! | `node_ejected` | WARN | `node` `outcome` `reason` `cool_down` | a healthy node failed (`failed`, `unreachable`, `not_serving`), and why, in words; not again while it stays out |
//! | `node_returned` | INFO | `node` | a probe found that it serves again |
//! | `sync_state_changed` | INFO | `node` `sync_state` | a replica is `syncing`, `lagging`, its link is down (`link_down`), it holds other data (`diverged`), or is `in_sync` again |
//! | `role_changed` | WARN | `node` `role` | a server reported that it is a `replica`, or a `master`, now |
//! | `topology_changed` | INFO | `generation` `master` `replicas` | nodes joined, left or changed their roles |
//! | `failover` | WARN | `from` `to` | writes go to another master |
//! | `writes_resumed` | INFO | `master` `after` | the new master answered its first write of this client, so long after the old master was out |
//! | `fallback` | WARN | `node` `reads` | reads went to the master because no replica could serve; at most one event in 10 s |
//! | `slow_call` | WARN | `command` `node` `took` `attempts` `waiting` `connecting` `sending` `replying` `pausing` `error` | a call took longer than [`Builder::slow_call`](crate::Builder::slow_call), and where its time went; `error` is the kind of the failure |
//! | `command_reclassified` | WARN | `command` `node` | a replica refused a command that was classified as a read: it is a write from now on |
//! | `node_lacks_rights` | WARN | `node` `right` | a replica refused a read for lack of rights, and another node served it; at most one event in 10 s for each node |
//! | `provider_failed` | WARN | `error` | the provider could not describe the set; once, until it can again |
//! | `session_lost` | WARN | `node` `loss` | a master does not contain what a session wrote (`write_lost`) or only read (`history_lost`), or this is not known (`unproven`) |
//! | `monitor_panicked` | ERROR | `thread` `node` `reason` | code of a provider, a subscriber or a dependency panicked on a thread of the monitor, or a subscriber while it received an event; the client continues; at most once a minute for each place |
//! | `observer_panicked` | ERROR | `thread` `reason` | an observer panicked; the client continues; at most once a minute for each thread |
//!
//! Failed attempts are written at level DEBUG, with the target of the module.
//!
//! # Spans
//!
//! Each call is a span of `tracing` with the target `redis_replicated::call` and the level DEBUG, by the semantic conventions of
//! OpenTelemetry for Redis: `otel.name` and `db.operation.name` (the command, `PIPELINE` or `MULTI`), `otel.kind` (`client`),
//! `db.system.name` (`redis`), `db.namespace` (the number of the database), `db.operation.batch.size`, `server.address`,
//! `server.port`, `db.response.status_code`, `error.type`, `redis.client.operation.retry_attempts`. A span costs more than
//! reading a small value, so switch it on for a sample of the requests, or to look for a fault.

mod call;
mod code;
mod connection;
mod event;
mod interest;
mod life;
pub(crate) mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod node;
mod observer;
mod observers;
mod session;
mod span;
mod topology;
mod trace;

pub use self::call::{AttemptEnded, CallEnded};
pub use self::connection::{CloseReason, ConnectionChange, ConnectionEvent, ConnectionKind};
pub use self::event::Event;
pub use self::interest::Interest;
#[cfg(feature = "metrics")]
pub use self::metrics::{MetricsGroups, MetricsObserver};
pub use self::node::{NodeChange, NodeEvent, NodeGauges};
pub use self::observer::Observer;
pub use self::session::{ProvenBy, SessionChange, SessionEvent};
pub use self::topology::{TopologyChange, TopologyEvent};
pub use crate::retry::Timing;

pub(crate) use self::life::ConnectionLife;
pub(crate) use self::observers::{NodeObservers, Observers};
pub(crate) use self::trace::{Attempted, Lack, Trace};
