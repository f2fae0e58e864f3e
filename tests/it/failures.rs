//! Nodes, networks and masters that fail, and servers that refuse.

mod capacity;
mod failover;
mod faults;
mod field;
mod hangs;
mod outage;
mod panics;
mod refusals;
mod rights;
mod survive;
