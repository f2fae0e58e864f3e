//! Nodes that take their time, byte by byte.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use redis::io::tcp::socket2::SockRef;

use crate::support::{Fake, read_command, read_some};

const GREETING: &str = "*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
const INFO: &str = "role:master\r\nconnected_slaves:0\r\nmaster_replid:8371445ee47abd62a80cc5d5d9bf9c0bd9e0d8a2\r\nmaster_repl_offset:84\r\n";
/// The pause between two bytes.
const PAUSE: Duration = Duration::from_millis(20);

fn info() -> String {
    format!("${}\r\n{INFO}\r\n", INFO.len())
}

/// A master that logs everybody in and tells how it is; `then` gets a connection with its first other request.
pub(super) fn master(then: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Fake {
    Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let answer = match words[0].as_str() {
                "HELLO" => GREETING.to_owned(),
                "INFO" => info(),
                _ => return then(&mut output),
            };
            if output.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Sends the beginning and then the same byte without end, one byte at a time.
pub(super) fn drip(stream: &mut TcpStream, beginning: &[u8], then: u8) {
    for byte in beginning.iter().chain(std::iter::repeat(&then)) {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        // A node that drips: that is what is tested.
        thread::sleep(PAUSE);
    }
}

/// A node whose answer to a login is valid and never complete.
pub(super) fn dripping_greeting() -> Fake {
    Fake::raw(|mut stream| {
        if read_some(&mut stream) > 0 {
            drip(&mut stream, b"*2000\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$1000000\r\n", b'x');
        }
    })
}

/// A master that sends push messages instead of a reply, with this pause between.
pub(super) fn pushing(pause: Duration) -> Fake {
    master(move |stream| {
        while stream.write_all(b">2\r\n+message\r\n+nobody asked\r\n").is_ok() {
            // A node that pushes at this pace: that is what is tested.
            thread::sleep(pause);
        }
    })
}

/// A master that takes 64 KiB of a request every 100 ms.
pub(super) fn slow_taker() -> Fake {
    Fake::raw(|mut stream| {
        // As little as possible is held on the way.
        SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            let answer = match &chunk[..count.min(14)] {
                [b'*', _, b'\r', b'\n', b'$', b'5', b'\r', b'\n', b'H', ..] => GREETING.to_owned(),
                [b'*', _, b'\r', b'\n', b'$', b'4', b'\r', b'\n', b'I', ..] => info(),
                _ => {
                    // A node that says nothing for a while to what it does not know.
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}
