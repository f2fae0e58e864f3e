//! Servers that stall in a TLS handshake, or drip through it.

use std::io::Read;
use std::time::Duration;

use redis_replicated::ReplicatedClient;

use super::faults::{THREADS, calls, drip, node};
use super::measure::{Fault, Scale};

#[path = "../../tests/it/tls/authority.rs"]
#[allow(dead_code, unreachable_pub)]
mod authority;

/// The beginning of a record of 16 000 bytes, with a message of the handshake that is as long as that.
const BEGINNING: [u8; 9] = [22, 3, 3, 0x3e, 0x80, 2, 0, 0x3e, 0x7c];

/// Returns how many of the faults keep calls for too long.
pub(super) fn measure(scale: Scale) -> usize {
    if !authority::has_openssl() {
        return 0;
    }
    let stalling = node(|mut stream| while let Ok(1..) = stream.read(&mut [0; 4096]) {});
    let dripping = node(|mut stream| {
        if let Ok(1..) = stream.read(&mut [0; 4096]) {
            drip(&mut stream, &BEGINNING);
        }
    });
    let all = [fault("stalled TLS handshake", &stalling), fault("dripping TLS handshake", &dripping)];
    all.into_iter().map(|fault| fault.measure(scale)).filter(|verdict| !verdict.holds()).count()
}

fn fault(name: &'static str, url: &str) -> Fault {
    let url = url.replace("redis://", "rediss://");
    let certificates = authority::Authority::without_server().certificates(None);
    // Every other client has no monitor.
    let client = move |number: usize| {
        let interval = if number.is_multiple_of(2) { Duration::from_secs(1) } else { Duration::ZERO };
        let builder = ReplicatedClient::builder().master(url.clone()).tls_certificates(certificates.clone());
        builder.pool_size(THREADS as u32).max_connecting(THREADS as u32).monitor_interval(interval).build().unwrap()
    };
    Fault { client: Box::new(client), ..calls(name, String::new()) }
}
