//! Threads of the monitor. A panic on one of them is told, and its work goes on.
//!
//! What may panic there is not ours: a provider, a map of addresses, a TLS library. (A subscriber that panics is caught where it
//! is told something.) The stack has the usual size, because their code runs on it, and because replies may be nested.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;

use crate::addr::NodeAddr;
use crate::error::{Error, Result};
use crate::events;

/// Starts a thread. A panic that `work` does not catch itself ends the thread, and is told.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = Builder::new().name(name.to_owned()).spawn(|| {
        guarded(None, work);
    });
    started.map(drop).map_err(|cause| cannot_start(&cause))
}

/// Does something that may panic, about this node if it is about one. `None`: it did, which was told.
pub(super) fn guarded<T>(node: Option<&NodeAddr>, work: impl FnOnce() -> T) -> Option<T> {
    // Whoever calls this puts right what a panic leaves behind.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| tell(node, panic)).ok()
}

fn tell(node: Option<&NodeAddr>, panic: Box<dyn Any + Send>) {
    events::panicked(node, &*panic);
    // Dropping it runs code of whoever panicked.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
}

/// The error of a system that starts no thread.
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
