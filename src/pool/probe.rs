//! Finds out whether a server that hangs up on the words of redis speaks TLS.

use std::io::{Read, Write};
use std::time::Instant;

use super::patience::Patience;
use super::transport::Transport;

/// The beginning of a TLS handshake that is too short for any server: those that speak TLS answer with an alert.
const TOO_SHORT: [u8; 10] = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
/// The kinds of records that a server begins with.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Returns whether the server answers as one that speaks TLS, by `end`.
pub(super) fn speaks_tls(transport: &mut Transport, end: Instant) -> bool {
    transport.begin(Patience::until(Some(end), Instant::now()));
    let mut record = [0; 3];
    let is_answered = transport.write_all(&TOO_SHORT).is_ok() && transport.read_exact(&mut record).is_ok();
    is_answered && matches!(record, [ALERT | HANDSHAKE, 3, _])
}
