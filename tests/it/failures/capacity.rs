//! Capacity and logins are not death: a node that refuses one more connection serves with those that it has.

mod blocking;
mod clients;
mod handshakes;
mod logins;
mod replies;
mod traffic;
mod waits;
