//! A slow line to the servers: a process of its own forwards TCP, each chunk so long after it came, both ways at once.
//!
//! A process of its own, so that its CPU time counts as that of neither clients nor servers. One thread serves all connections.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::caller::{Outcome, text};

/// The first argument of the process.
pub const SERVE: &str = "--serve-line";
const CHUNK: usize = 64 * 1024;
/// Marks events of listeners; sockets count from 0.
const LISTENER: u64 = 1 << 32;
const STDIN: u64 = 1 << 33;

/// The process; it ends when this is dropped, which closes its standard input.
pub struct Line {
    process: Child,
    ports: Vec<u16>,
}

impl Line {
    /// Starts a line with this delay in each direction to these ports of this machine.
    pub fn start(delay: Duration, targets: &[u16]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe().map_err(text)?);
        command.arg(SERVE).arg(delay.as_nanos().to_string()).args(targets.iter().map(u16::to_string));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(text)?;
        let mut answer = String::new();
        let out = process.stdout.take().ok_or("the line has no output")?;
        BufReader::new(out).read_line(&mut answer).map_err(text)?;
        let ports: Vec<_> = answer.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        if ports.len() == targets.len() {
            Ok(Self { process, ports })
        } else {
            Err("the line did not start".to_owned())
        }
    }

    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// The ports of the line, in the order of the targets.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// One end of a forwarded connection. The other end of the socket at `n` is at `n ^ 1`.
struct Socket {
    stream: TcpStream,
    /// What is due, but did not fit into the socket.
    rest: VecDeque<u8>,
    /// Everything was read and forwarded into this socket.
    is_finished: bool,
}

/// Bytes on their way; none: the end of the stream.
struct Chunk {
    due: Instant,
    to: usize,
    bytes: Vec<u8>,
}

struct Forwarder {
    delay: Duration,
    epoll: OwnedFd,
    listeners: Vec<(TcpListener, u16)>,
    sockets: Vec<Option<Socket>>,
    /// All chunks are delayed alike, so the first that came is the first that is due.
    chunks: VecDeque<Chunk>,
}

/// Runs the process of the line: prints its ports, then forwards until its standard input is closed.
pub fn serve(args: &[String]) -> io::Result<()> {
    let numbers = |text: &String| text.parse::<u64>().map_err(io::Error::other);
    let numbers = args.iter().map(numbers).collect::<io::Result<Vec<_>>>()?;
    let [delay, targets @ ..] = numbers.as_slice() else { return Err(io::Error::other("no delay")) };
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, io::stdin(), EventData::new_u64(STDIN), EventFlags::IN)?;
    let mut listeners = Vec::new();
    for target in targets {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER + listeners.len() as u64), EventFlags::IN)?;
        listeners.push((listener, u16::try_from(*target).map_err(io::Error::other)?));
    }
    let ports = listeners.iter().map(|(listener, _)| Ok(listener.local_addr()?.port().to_string()));
    println!("{}", ports.collect::<io::Result<Vec<_>>>()?.join(" "));
    let delay = Duration::from_nanos(*delay);
    Forwarder { delay, epoll, listeners, sockets: Vec::new(), chunks: VecDeque::new() }.run()
}

impl Forwarder {
    fn run(mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(256);
        let mut buffer = vec![0; CHUNK];
        loop {
            let left = self.chunks.front().map(|chunk| chunk.due.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match epoll::wait(&self.epoll, spare_capacity(&mut events), left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    STDIN => return Ok(()),
                    listener @ LISTENER.. => self.accept((listener - LISTENER) as usize)?,
                    socket => self.serve(socket as usize, event.flags, &mut buffer),
                }
            }
            self.deliver();
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        let (listener, target) = &self.listeners[listener];
        let accepted = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        // A refused connection: the client sees the end of its own.
        let Ok(connected) = TcpStream::connect((Ipv4Addr::LOCALHOST, *target)) else { return Ok(()) };
        for stream in [accepted, connected] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            epoll::add(&self.epoll, &stream, EventData::new_u64(self.sockets.len() as u64), EventFlags::IN)?;
            self.sockets.push(Some(Socket { stream, rest: VecDeque::new(), is_finished: false }));
        }
        Ok(())
    }

    fn serve(&mut self, place: usize, flags: EventFlags, buffer: &mut [u8]) {
        if flags.contains(EventFlags::OUT) {
            self.write(place, &[]);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let Some(socket) = &mut self.sockets[place] else { return };
        let bytes = match socket.stream.read(buffer) {
            Ok(length) => buffer[..length].to_vec(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => Vec::new(),
        };
        if bytes.is_empty() {
            // Nothing more to read: only the other direction may still want to write.
            let _ = epoll::delete(&self.epoll, &socket.stream);
        }
        self.chunks.push_back(Chunk { due: Instant::now() + self.delay, to: place ^ 1, bytes });
    }

    /// Writes what is due.
    fn deliver(&mut self) {
        let now = Instant::now();
        while self.chunks.front().is_some_and(|chunk| chunk.due <= now) {
            let Some(chunk) = self.chunks.pop_front() else { return };
            if chunk.bytes.is_empty() {
                self.finish(chunk.to);
            } else {
                self.write(chunk.to, &chunk.bytes);
            }
        }
    }

    fn write(&mut self, place: usize, bytes: &[u8]) {
        let Some(socket) = &mut self.sockets[place] else { return };
        let had_rest = !socket.rest.is_empty();
        let mut bytes = bytes;
        if !had_rest {
            bytes = &bytes[socket.stream.write(bytes).unwrap_or(0)..];
        }
        socket.rest.extend(bytes);
        while !socket.rest.is_empty() {
            match socket.stream.write(socket.rest.as_slices().0) {
                Ok(written) => drop(socket.rest.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => socket.rest.clear(),
            }
        }
        let has_rest = !socket.rest.is_empty();
        if has_rest != had_rest {
            let flags = if has_rest { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let _ = epoll::modify(&self.epoll, &socket.stream, EventData::new_u64(place as u64), flags);
        }
        if !has_rest && socket.is_finished {
            self.finish(place);
        }
    }

    /// Passes on the end of the stream; drops the connection once both directions have ended.
    fn finish(&mut self, place: usize) {
        let Some(socket) = &mut self.sockets[place] else { return };
        socket.is_finished = true;
        if socket.rest.is_empty() {
            let _ = socket.stream.shutdown(Shutdown::Write);
        }
        if self.sockets[place ^ 1].as_ref().is_none_or(|other| other.is_finished) {
            self.sockets[place] = None;
            self.sockets[place ^ 1] = None;
        }
    }
}
