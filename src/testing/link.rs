//! One connection through a [`FaultProxy`](super::fault_proxy::FaultProxy): what each fault does to its bytes.
//!
//! There are three threads. One passes on the bytes of the client. One reads the bytes of the server, and passes them on
//! immediately if nothing is held and no fault forbids it. One passes on held bytes. Every byte is written under the lock of the
//! setting, so that none gets through once a fault is set. The lock of `replies` is always taken before that one, never after.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::network_fault::{CHUNK, NetworkFault, Setting};

/// The largest number of bytes that are held for one client. When exceeded, the server has to wait.
const MOST_HELD: usize = 16 * 1024 * 1024;
/// How long a write waits for a receiver that does not read. A change of the fault waits as long.
const WRITE_LIMIT: Duration = Duration::from_millis(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How a connection ends.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum End {
    /// Both sides see the end of the stream.
    Closed,
    /// The client sees a reset.
    Reset,
}

/// One client with its connection to the server.
pub(super) struct Link {
    client: TcpStream,
    server: OnceLock<TcpStream>,
    setting: Arc<RwLock<Setting>>,
    replies: Mutex<Replies>,
    /// Notified at every change of `replies` and of the fault.
    changed: Condvar,
}

/// The bytes of the server that the client has not received yet.
#[derive(Default)]
struct Replies {
    /// The first chunk stays until its last byte is written.
    queue: VecDeque<Chunk>,
    held: usize,
    half_closed: bool,
    end: Option<End>,
}

/// Some bytes of the server. An empty chunk is the end of its stream.
#[derive(Clone)]
struct Chunk {
    arrival: Instant,
    bytes: Arc<[u8]>,
    passed: usize,
}

/// The result of an attempt to pass something on.
enum Step {
    Passed(usize),
    /// Something changed, or the receiver is slow.
    Again,
    HalfClose,
    /// The stream has ended, and the other side knows.
    Done,
    End(End),
}

impl Link {
    pub(super) fn new(client: TcpStream, setting: Arc<RwLock<Setting>>) -> io::Result<Self> {
        prepare(&client)?;
        let (replies, changed) = (Mutex::default(), Condvar::new());
        Ok(Self { client, server: OnceLock::new(), setting, replies, changed })
    }

    /// Passes bytes on until both sides are done, or it is ended.
    pub(super) fn run(self: Arc<Self>, target: SocketAddr) {
        if let Some(server) = self.connect(target) {
            thread::scope(|scope| {
                let thread = || thread::Builder::new().name("fault-proxy".to_owned());
                let reader = thread().spawn_scoped(scope, || self.read_replies(server));
                let writer = thread().spawn_scoped(scope, || self.write_replies());
                if reader.is_err() || writer.is_err() {
                    self.end(End::Closed);
                }
                self.pass_requests(server);
                // Fails only if the thread has panicked. Without, they may still be ending after the scope.
                [reader, writer].into_iter().flatten().for_each(|thread| _ = thread.join());
            });
        }
        if self.replies.lock().end != Some(End::Reset) {
            self.drain();
        }
    }

    /// Ends the connection, whatever the fault is.
    pub(super) fn end(&self, end: End) {
        {
            let mut replies = self.replies.lock();
            if replies.end.is_some() {
                return;
            }
            replies.end = Some(end);
        }
        self.changed.notify_all();
        // Both fail only if the other side has closed. A reset must not begin with the end of the stream: it is sent
        // when the last thread drops the client's socket, because that holds unread bytes.
        if let Some(server) = self.server.get() {
            let _ = server.shutdown(Shutdown::Both);
        }
        if end == End::Closed {
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }

    /// Wakes the threads that wait for the end of a fault.
    pub(super) fn notice_change(&self) {
        // Under the lock: no change is missed between a read of the fault and the wait for its end.
        let _replies = self.replies.lock();
        self.changed.notify_all();
    }

    /// Connects to the server once no black hole prevents it. Returns `None` if the connection has ended.
    fn connect(&self, target: SocketAddr) -> Option<&TcpStream> {
        if !self.outlives_black_hole() {
            return None;
        }
        let connected = TcpStream::connect_timeout(&target, CONNECT_LIMIT).and_then(|server| {
            prepare(&server)?;
            Ok(server)
        });
        let Ok(server) = connected else {
            self.end(End::Closed);
            return None;
        };
        let server = self.server.get_or_init(|| server);
        // From here on, `end` closes the connection to the server as well.
        self.replies.lock().end.is_none().then_some(server)
    }

    /// Waits while nothing gets through. Returns `false` if the connection has ended.
    fn outlives_black_hole(&self) -> bool {
        let mut replies = self.replies.lock();
        while replies.end.is_none() {
            if self.setting.read().fault != NetworkFault::BlackHole {
                return true;
            }
            self.changed.wait(&mut replies);
        }
        false
    }

    fn pass_requests(&self, server: &TcpStream) {
        let mut buffer = vec![0; CHUNK];
        let mut unsent = 0..0;
        loop {
            // Only a peek: bytes in a black hole stay with the system, and unread bytes cause a reset.
            let seen = if unsent.is_empty() { self.client.peek(&mut [0]) } else { Ok(unsent.len()) };
            if !self.outlives_black_hole() {
                return;
            }
            match self.pass_request(server, seen, &mut buffer, &mut unsent) {
                Step::Done => return,
                Step::End(end) => return self.end(end),
                Step::Passed(_) => self.rest(),
                Step::Again | Step::HalfClose => {}
            }
        }
    }

    /// Waits before a slow reader reads the next bytes, as long as it is slow.
    fn rest(&self) {
        let start = Instant::now();
        let mut replies = self.replies.lock();
        while replies.end.is_none() {
            let NetworkFault::SlowReader { pause, .. } = self.setting.read().fault else { return };
            match pause.saturating_sub(start.elapsed()) {
                Duration::ZERO => return,
                left => _ = self.changed.wait_for(&mut replies, left),
            }
        }
    }

    fn pass_request(
        &self,
        mut server: &TcpStream,
        seen: io::Result<usize>,
        buffer: &mut [u8],
        unsent: &mut Range<usize>,
    ) -> Step {
        let is_new = Range::is_empty(unsent);
        let setting = self.setting.read();
        match (setting.fault, seen) {
            (NetworkFault::BlackHole, _) => return Step::Again,
            (_, Err(error)) if is_passing(&error) => return Step::Again,
            (_, Err(_)) => return Step::End(End::Closed),
            (_, Ok(0)) => {
                // Fails only if the server has closed.
                let _ = server.shutdown(Shutdown::Write);
                return Step::Done;
            }
            (NetworkFault::Reset, Ok(_)) if is_new => return Step::End(End::Reset),
            (NetworkFault::Reset, Ok(_)) => {
                *unsent = 0..0;
                return Step::Again;
            }
            _ => {}
        }
        if is_new {
            match (&self.client).read(&mut buffer[..setting.fault.taken_at_once()]) {
                Ok(read) => *unsent = 0..read,
                Err(error) if is_passing(&error) => return Step::Again,
                Err(_) => return Step::End(End::Closed),
            }
        }
        let step = attempt(server.write(&buffer[unsent.clone()]));
        if let Step::Passed(bytes) = step {
            unsent.start += bytes;
        }
        step
    }

    fn read_replies(&self, mut server: &TcpStream) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match server.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if is_passing(&error) => continue,
                Err(_) => 0,
            };
            let arrival = Instant::now();
            let passed = self.pass_at_once(&buffer[..read]);
            if read > 0 && passed == read {
                continue;
            }
            let bytes = Arc::from(&buffer[passed..read]);
            if !self.hold(Chunk { arrival, bytes, passed: 0 }) || read == 0 {
                return;
            }
        }
    }

    /// Passes on as many bytes as the client accepts without waiting. Passes on none while earlier bytes are held.
    fn pass_at_once(&self, bytes: &[u8]) -> usize {
        {
            // The queue stays empty: only this thread adds to it.
            let replies = self.replies.lock();
            if !replies.queue.is_empty() || replies.half_closed || replies.end.is_some() {
                return 0;
            }
        }
        let setting = self.setting.read();
        match setting.fault {
            // After an error, the writer gets the same error and handles it.
            NetworkFault::None | NetworkFault::Reset | NetworkFault::SlowReader { .. } if !bytes.is_empty() => {
                (&self.client).write(bytes).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Gives a chunk to the writer. Returns `false` if the connection has ended.
    fn hold(&self, chunk: Chunk) -> bool {
        let mut replies = self.replies.lock();
        while replies.held >= MOST_HELD && replies.end.is_none() && !replies.half_closed {
            self.changed.wait(&mut replies);
        }
        if !replies.half_closed {
            replies.held += chunk.bytes.len();
            replies.queue.push_back(chunk);
            self.changed.notify_all();
        }
        replies.end.is_none()
    }

    fn write_replies(&self) {
        let mut last = None;
        let (mut generation, mut spent) = (0, 0);
        while let Some((chunk, setting)) = self.next_chunk(last) {
            if generation != setting.generation {
                (generation, spent) = (setting.generation, 0);
            }
            match self.pass_chunk(&chunk, setting, spent) {
                Step::Passed(bytes) => {
                    last = Some(Instant::now());
                    spent += bytes;
                    if setting.fault == NetworkFault::Truncate(spent) {
                        return self.end(End::Closed);
                    }
                    self.account_for(bytes);
                }
                Step::Again => {}
                Step::HalfClose => {
                    let mut replies = self.replies.lock();
                    replies.half_closed = true;
                    (replies.queue, replies.held) = (VecDeque::new(), 0);
                    self.changed.notify_all();
                    return;
                }
                Step::Done => return,
                Step::End(end) => return self.end(end),
            }
        }
    }

    /// Waits for the next chunk and for its time. Returns `None` if the connection has ended.
    fn next_chunk(&self, last: Option<Instant>) -> Option<(Chunk, Setting)> {
        let mut replies = self.replies.lock();
        while replies.end.is_none() {
            let first = replies.queue.front().map(|chunk| (chunk.clone(), *self.setting.read()));
            let time = first.as_ref().and_then(|(chunk, setting)| match setting.fault {
                NetworkFault::BlackHole => None,
                NetworkFault::Delay(delay) => chunk.arrival.checked_add(delay),
                NetworkFault::SlowBytes(pause) => last.map_or(Some(chunk.arrival), |last| last.checked_add(pause)),
                _ => Some(chunk.arrival),
            });
            match (first, time) {
                (Some(first), Some(time)) if time <= Instant::now() => return Some(first),
                (_, Some(time)) => _ = self.changed.wait_until(&mut replies, time),
                (_, None) => self.changed.wait(&mut replies),
            }
        }
        None
    }

    fn pass_chunk(&self, chunk: &Chunk, expected: Setting, spent: usize) -> Step {
        let setting = self.setting.read();
        if setting.generation != expected.generation {
            return Step::Again;
        }
        let rest = &chunk.bytes[chunk.passed..];
        let most = match setting.fault {
            NetworkFault::Truncate(bytes) => bytes.saturating_sub(spent),
            NetworkFault::SlowBytes(_) => 1,
            _ => usize::MAX,
        };
        if rest.is_empty() || setting.fault == NetworkFault::HalfClose {
            // Fails only if the client has closed.
            let _ = self.client.shutdown(Shutdown::Write);
            return if rest.is_empty() { Step::Done } else { Step::HalfClose };
        }
        if most == 0 {
            return Step::End(End::Closed);
        }
        attempt((&self.client).write(&rest[..most.min(rest.len())]))
    }

    fn account_for(&self, bytes: usize) {
        let mut replies = self.replies.lock();
        replies.held = replies.held.saturating_sub(bytes);
        let done = replies.queue.front_mut().is_some_and(|chunk| {
            chunk.passed += bytes;
            chunk.passed >= chunk.bytes.len()
        });
        if done {
            replies.queue.pop_front();
        }
        self.changed.notify_all();
    }

    /// Reads the remaining bytes of the client, so that the socket is closed and not reset.
    fn drain(&self) {
        let mut buffer = vec![0; CHUNK];
        let _ = self.client.shutdown(Shutdown::Both);
        // Does not wait after the shutdown. Bounded: the client may continue to send.
        let _ = (0..1024).find(|_| !matches!((&self.client).read(&mut buffer), Ok(1..)));
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))
}

/// Returns whether an error says nothing about the connection.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn attempt(written: io::Result<usize>) -> Step {
    match written {
        Ok(bytes) => Step::Passed(bytes),
        Err(error) if is_passing(&error) => Step::Again,
        Err(_) => Step::End(End::Closed),
    }
}
