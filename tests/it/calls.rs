//! Calls while nothing is broken: where they go, what they cost in time, and what their errors say.

mod classification;
mod errors;
mod routing;
mod strategies;
pub mod time_limits;
mod topologies;
