//! Connections that are handed to users. The redis crate opens them, and bounds each system call, not the whole.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Instant;

use redis::{Connection, RedisResult};

use super::connector::Connector;
use crate::replication::Role;

/// At most so many threads wait for the handshakes of one node. A thread outlives its call only if the node sends byte
/// by byte.
const MOST_THREADS: u32 = 64;

/// Opens connections on threads of their own, so that no server delays a caller beyond its end.
#[derive(Debug, Default)]
pub(super) struct Unpooled {
    threads: Arc<AtomicU32>,
}

/// One such thread, counted until dropped.
struct Counted(Arc<AtomicU32>);

impl Unpooled {
    /// Opens a connection and returns it with the role of the node, by `end`.
    pub(super) fn connect(&self, connector: Arc<Connector>, end: Instant) -> RedisResult<(Connection, Option<Role>)> {
        let counted = Counted(Arc::clone(&self.threads));
        if self.threads.fetch_add(1, Ordering::Relaxed) >= MOST_THREADS {
            return Err((redis::ErrorKind::Client, "too many connections to this node are being opened at once").into());
        }
        let (done, connected) = sync_channel(1);
        let connect = move || {
            let _counted = counted;
            // The caller may have stopped waiting: then the connection is closed here.
            let _ = done.send(connector.connect_for_user(end));
        };
        thread::Builder::new().name("redis-connect".to_owned()).spawn(connect)?;
        match connected.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(connected) => connected,
            Err(RecvTimeoutError::Timeout) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Err(RecvTimeoutError::Disconnected) => Err((redis::ErrorKind::Client, "panicked while connecting").into()),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
