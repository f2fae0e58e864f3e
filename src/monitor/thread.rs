//! Starts threads. A panic on one of them becomes an event, and its work goes on.
//!
//! Code of others may panic there: a provider, a map of addresses, a TLS library. (A panic of a subscriber is caught where the
//! event is made.) The stack has the usual size, because their code runs on it, and because replies may be nested.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, Builder};

use crate::addr::NodeAddr;
use crate::error::{Error, Result};
use crate::observe::log;

/// Starts a thread. A panic that `work` does not catch itself ends the thread, and becomes an event.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = Builder::new().name(name.to_owned()).spawn(|| {
        guarded(None, work);
    });
    started.map(drop).map_err(|cause| cannot_start(&cause))
}

/// Does `work` for each of these at once, each on a thread of its own, and returns the results. One for which no thread can be
/// started has none.
pub(crate) fn at_once<T: Send, R: Send>(all: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let start = |one: T| Builder::new().spawn_scoped(scope, move || work(one)).ok();
        let started: Vec<_> = all.into_iter().filter_map(start).collect();
        started.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Does something that may panic, about this node if it is about one. `None`: it panicked, and an event was made of that.
pub(crate) fn guarded<T>(node: Option<&NodeAddr>, work: impl FnOnce() -> T) -> Option<T> {
    // The caller puts right what a panic leaves behind.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| announce(node, panic)).ok()
}

fn announce(node: Option<&NodeAddr>, panic: Box<dyn Any + Send>) {
    log::panicked(node, &*panic);
    // Dropping it runs code of the type that was thrown.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
}

/// Returns the error for a system that starts no thread.
pub(crate) fn cannot_start(cause: &io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => {
            Error::config("no thread can be started: the system's limit of threads or of memory is reached")
        }
        _ => Error::config("no thread can be started").because(redis::RedisError::from(io::Error::from(cause.kind()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{cannot_start, guarded};
    use crate::error::ErrorKind;
    use std::io;

    #[test]
    fn a_panic_is_caught_also_one_whose_message_panics() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(guarded(None, || 7), Some(7));
        assert_eq!(guarded::<()>(None, || panic!("on purpose")), None);
        assert_eq!(guarded::<()>(None, || std::panic::panic_any(Bomb)), None);
    }

    #[test]
    fn a_limit_of_threads_is_told_in_words() {
        let error = cannot_start(&io::ErrorKind::WouldBlock.into());
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().ends_with("the system's limit of threads or of memory is reached"), "{error}");
    }
}
