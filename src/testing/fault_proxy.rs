//! A bad network before a server: a TCP proxy whose faults are switched while connections are open.
//!
//! This file accepts and refuses connections; `link` applies a fault to each of them.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::link::{End, Link};
use super::network_fault::{NetworkFault, Setting};
use crate::addr::NodeAddr;

/// How long the end of [`NetworkFault::Refuse`] tries to bind its port again.
const LONGEST_WAIT_FOR_PORT: Duration = Duration::from_secs(2);
/// The pause after an attempt that lacked a port, a file or a thread.
const PAUSE: Duration = Duration::from_millis(20);

/// A TCP proxy in front of one server that simulates network faults. It listens on a free port of the loopback interface.
///
/// All its connections and threads end when it is dropped. It does not read the protocol: everything that the server sends is a
/// reply. Behind the proxy, a stopped server looks like one that accepts connections and closes them;
/// [`NetworkFault::Refuse`] refuses them.
///
/// ```no_run
/// use redis_replicated::ReplicatedClient;
/// use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let servers = ReplicaSet::start(1)?;
/// let proxy = FaultProxy::start(&servers.replica(0).addr())?;
/// let client = ReplicatedClient::builder().master(servers.master().url()).replica(proxy.url()).build()?;
/// proxy.set(NetworkFault::BlackHole)?;
/// client.get::<Option<String>>("k")?;
/// # Ok(()) }
/// ```
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    /// `None` while connections are refused. Locked while the fault changes: one change after the other.
    acceptor: Mutex<Option<Acceptor>>,
}

/// The state that the proxy, its acceptor and its connections share.
struct Shared {
    target: SocketAddr,
    setting: Arc<RwLock<Setting>>,
    accepted: AtomicU64,
    /// Locked after `setting` was changed and while a connection starts: none of them misses a change.
    ///
    /// Weak: a connection is closed when its own thread drops it.
    links: Mutex<Vec<(Weak<Link>, JoinHandle<()>)>>,
}

/// The thread that accepts connections.
struct Acceptor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy without a fault in front of the server at this address.
    ///
    /// # Errors
    ///
    /// If the target is a unix socket, its name is unknown, or the system has no free port or thread.
    pub fn start(target: &NodeAddr) -> io::Result<Self> {
        let (Some(host), Some(port)) = (target.host(), target.port()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the proxy reaches TCP ports only"));
        };
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        let target = (host, port).to_socket_addrs()?.next().ok_or_else(unknown)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let setting = Arc::new(RwLock::new(Setting::default()));
        let shared = Shared { target, setting, accepted: AtomicU64::new(0), links: Mutex::default() };
        let shared = Arc::new(shared);
        let acceptor = Acceptor::start(listener, &shared)?;
        Ok(Self { port, shared, acceptor: Mutex::new(Some(acceptor)) })
    }

    /// Returns the address on which the proxy listens.
    #[must_use]
    pub fn addr(&self) -> NodeAddr {
        NodeAddr::tcp("127.0.0.1", self.port)
    }

    /// Returns the URL of the proxy, without a login.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Sets the fault for new and existing connections, in place of the previous one.
    ///
    /// It takes effect before this returns, also on bytes that the proxy holds. Setting the same fault again restarts it:
    /// [`NetworkFault::Truncate`] counts from zero.
    ///
    /// # Errors
    ///
    /// If another process took the port while connections were refused. They are still refused then.
    pub fn set(&self, fault: NetworkFault) -> io::Result<()> {
        let mut acceptor = self.acceptor.lock();
        if fault == NetworkFault::Refuse {
            self.change(fault);
            if let Some(acceptor) = acceptor.take() {
                acceptor.stop(self.port);
            }
            self.cut();
        } else if acceptor.is_some() {
            self.change(fault);
        } else {
            let listener = self.listen_again()?;
            self.change(fault);
            *acceptor = Some(Acceptor::start(listener, &self.shared)?);
        }
        Ok(())
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Closes all connections accepted so far: both sides see the end of the stream. New ones are accepted as before.
    pub fn cut(&self) {
        self.shared.each_link(|link| link.end(End::Closed));
    }

    fn change(&self, fault: NetworkFault) {
        {
            // Waits for a running write: afterwards no byte is written under the old fault.
            let mut setting = self.shared.setting.write();
            *setting = Setting { fault, generation: setting.generation + 1 };
        }
        self.shared.each_link(Link::notice_change);
    }

    fn listen_again(&self) -> io::Result<TcpListener> {
        let end = Instant::now() + LONGEST_WAIT_FOR_PORT;
        loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => thread::sleep(PAUSE),
                result => return result,
            }
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.get_mut().take() {
            acceptor.stop(self.port);
        }
        self.cut();
        for (_, thread) in self.shared.links.lock().drain(..) {
            // Fails only if the thread has panicked.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("addr", &self.addr())
            .field("target", &self.shared.target)
            .field("fault", &self.shared.setting.read().fault)
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    fn start(listener: TcpListener, shared: &Arc<Shared>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, shared) = (Arc::clone(&stop), Arc::clone(shared));
        let accept = move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                // Fails if no file or thread is free. One may become free.
                if stream.and_then(|stream| shared.accept(stream)).is_err() {
                    thread::sleep(PAUSE);
                }
            }
        };
        let thread = thread::Builder::new().name("fault-proxy".to_owned()).spawn(accept)?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread; the port refuses connections afterwards.
    fn stop(self, port: u16) {
        self.stop.store(true, Ordering::SeqCst);
        while !self.thread.is_finished() {
            // A connection wakes it. Tried again if that fails, as when no file is free.
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                break;
            }
            thread::sleep(PAUSE);
        }
        // Fails only if the thread has panicked.
        let _ = self.thread.join();
    }
}

impl Shared {
    fn accept(&self, client: TcpStream) -> io::Result<()> {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let mut links = self.links.lock();
        links.retain(|(_, thread)| !thread.is_finished());
        let link = Arc::new(Link::new(client, Arc::clone(&self.setting))?);
        let (known, target) = (Arc::downgrade(&link), self.target);
        let thread = thread::Builder::new().name("fault-proxy".to_owned()).spawn(move || link.run(target))?;
        links.push((known, thread));
        Ok(())
    }

    fn each_link(&self, act: impl Fn(&Link)) {
        self.links.lock().iter().filter_map(|(link, _)| link.upgrade()).for_each(|link| act(&link));
    }
}
