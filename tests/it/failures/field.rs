//! Variants of the faults that were met in the field, as far as the client bears them.

mod blocking;
mod capacity;
mod faults;
mod slow;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::{Error, Result};

use crate::support::{Fake, read_command};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
/// How late a call may be while others use the processors.
const SLACK: Duration = Duration::from_millis(250);

/// What a call on a thread of its own came to, and how long it took.
type Ended<T> = Receiver<(Duration, T)>;

/// Runs a call on a thread of its own, which is left to itself if it hangs.
fn spawn<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Ended<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let start = Instant::now();
        let done = call();
        sender.send((start.elapsed(), done))
    });
    receiver
}

/// Makes a call that has to be back by its deadline.
fn in_time<T: Send + 'static>(
    what: &str,
    deadline: Duration,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (took, done) = spawn(call).recv_timeout(deadline + 10 * SECOND).unwrap_or_else(|_| panic!("{what}: hangs"));
    assert!(took <= deadline + SLACK, "{what}: back after {took:?}");
    done
}

/// The crate's own error inside of one of the redis crate.
fn own(error: redis::RedisError) -> Error {
    Error::of(&error).cloned().unwrap_or_else(|| panic!("an error of the server: {error}"))
}

/// A master that says how it is; `answer` gets each other command, with its number on the connection, and says whether the
/// connection stays open.
fn master(answer: impl Fn(&[String], usize, &mut TcpStream) -> bool + Send + Sync + 'static) -> Fake {
    const INFO: &str = "role:master\r\nconnected_slaves:0\r\n";
    Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        let mut others = 0;
        while let Some(words) = read_command(&mut input) {
            let reply = match words[0].as_str() {
                "HELLO" => "*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n".to_owned(),
                "INFO" => format!("${}\r\n{INFO}\r\n", INFO.len()),
                _ => {
                    others += 1;
                    if answer(&words, others, &mut output) {
                        continue;
                    }
                    return;
                }
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    })
}
