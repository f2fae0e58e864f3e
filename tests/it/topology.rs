//! Which nodes there are, and which of them is the master.

mod discovery;
mod names;
mod providers;
mod roles;
mod sentinels;
mod set;
mod sync_states;
