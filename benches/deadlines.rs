//! Whether calls are back by their deadline, whatever a node does: ten thousand calls against each fault.
//!
//! With `--features tls-rustls-ring`, handshakes of TLS as well. `cargo bench --bench deadlines` takes about five minutes, with `-- --quick` half a minute. It fails if fewer than 99.9 %
//! of the calls are back by their deadline + 20 ms, or one is later than + 100 ms. The hung look-up needs a mount namespace
//! and the port of a name server; where the system grants none, the bench says so.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "deadlines/faults.rs"]
mod faults;
#[path = "deadlines/measure.rs"]
mod measure;
#[path = "deadlines/names.rs"]
mod names;
#[cfg(feature = "tls-rustls-ring")]
#[path = "deadlines/tls.rs"]
mod tls;

use std::process::ExitCode;

use self::faults::{dripping_handshake, dripping_reply, endless_pushes, full_backlog, slow_taker};
use self::measure::Scale;

fn main() -> ExitCode {
    let scale = if std::env::args().any(|arg| arg == "--quick") { Scale::Quick } else { Scale::Full };
    if names::are_hung() {
        return names::run(scale).into();
    }
    println!(
        "calls against a fault, their lateness past the deadline; to hold: 99.9 % within 20 ms, all within 100 ms"
    );
    let all = [slow_taker, dripping_reply, dripping_handshake, endless_pushes, full_backlog];
    let failed = all.iter().filter(|fault| !fault(scale).holds()).count();
    #[cfg(feature = "tls-rustls-ring")]
    let failed = failed + tls::measure(scale);
    let names_hold = names::measure(scale);
    if failed == 0 && names_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
