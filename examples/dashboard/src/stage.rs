//! The set on the stage: real servers behind fault proxies, three Sentinels, and what a visitor may do to them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Sentinels};
use redis_replicated::{Builder, NodeAddr, ReplicatedClient, redis};
use serde::Serialize;

pub const REPLICAS: usize = 3;
const NAMES: [&str; 1 + REPLICAS] = ["A", "B", "C", "D"];
/// By how much a slowed node answers late.
pub const SLOWED_BY: Duration = Duration::from_millis(80);
/// How long a killed master stays away for the Sentinels to replace it. It has no data when it is back.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

pub struct Stage {
    servers: Mutex<ReplicaSet>,
    sentinels: Sentinels,
    nodes: Vec<Place>,
}

/// A server with the proxy through which the application reaches it.
pub struct Place {
    pub name: &'static str,
    /// Where the server listens. Other servers and the Sentinels know it by this address.
    server: NodeAddr,
    proxy: FaultProxy,
    condition: Mutex<Condition>,
    /// An action on this node runs.
    is_busy: AtomicBool,
}

/// What was done to a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Running,
    Killed,
    Stopped,
    Slowed,
    Restoring,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    Kill(usize),
    Stop(usize),
    Slow(usize),
    Restore(usize),
    FailOver,
}

impl Stage {
    pub fn start() -> io::Result<Self> {
        let servers = ReplicaSet::start(REPLICAS)?;
        let sentinels = Sentinels::start(&servers, 3)?;
        let place = |(server, name): (NodeAddr, _)| {
            let (condition, is_busy) = (Mutex::new(Condition::Running), AtomicBool::new(false));
            Ok(Place { name, proxy: FaultProxy::start(&server)?, server, condition, is_busy })
        };
        let addrs: Vec<NodeAddr> = servers.servers().iter().map(|server| server.addr()).collect();
        let nodes = addrs.into_iter().zip(NAMES).map(place).collect::<io::Result<_>>()?;
        Ok(Self { servers: Mutex::new(servers), sentinels, nodes })
    }

    /// Returns a builder of clients that reach every node through its proxy.
    pub fn client_builder(&self) -> Builder {
        let map: Vec<_> = self.nodes.iter().map(|node| (node.server.clone(), node.proxy.addr())).collect();
        let proxy_of = move |addr: &NodeAddr| {
            let known = map.iter().find(|(server, _)| server == addr);
            known.map_or_else(|| addr.clone(), |(_, proxy)| proxy.clone())
        };
        ReplicatedClient::builder().sentinel(self.sentinels.service(), self.sentinels.urls()).map_address(proxy_of)
    }

    pub fn nodes(&self) -> &[Place] {
        &self.nodes
    }

    /// Returns the index of the node that the application knows by this address.
    pub fn index_of(&self, addr: &NodeAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.proxy.addr() == *addr)
    }

    /// Returns what to call the node that the application knows by this address.
    pub fn name_of(&self, addr: &NodeAddr) -> &'static str {
        self.index_of(addr).map_or("?", |index| self.nodes[index].name)
    }

    /// Carries out an action. A failover may take seconds, and so may the return of a killed master.
    ///
    /// # Errors
    ///
    /// If the node is in a condition that does not allow it, or a server or Sentinel does not answer.
    pub fn act(&self, action: Action) -> io::Result<()> {
        let (Action::Kill(index) | Action::Stop(index) | Action::Slow(index) | Action::Restore(index)) = action else {
            return self.sentinels.fail_over();
        };
        let node = self.nodes.get(index).ok_or_else(|| io::Error::other("there is no such node"))?;
        if node.is_busy.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other(format!("node {} is still busy with the last action", node.name)));
        }
        let done = match action {
            Action::Kill(_) => self.kill(node),
            Action::Stop(_) => self.stop(node),
            Action::Slow(_) => node.slow(),
            Action::Restore(_) | Action::FailOver => self.restore(node),
        };
        node.is_busy.store(false, Ordering::SeqCst);
        done
    }

    fn kill(&self, node: &Place) -> io::Result<()> {
        if let Some(server) = self.servers.lock().server_at_mut(&node.server) {
            server.stop();
        }
        node.enter(Condition::Killed);
        // As without the proxy, the port of a dead server refuses connections.
        node.proxy.set(NetworkFault::Refuse)
    }

    fn stop(&self, node: &Place) -> io::Result<()> {
        node.require(&[Condition::Running, Condition::Slowed], "stopped")?;
        self.servers.lock().server_at(&node.server).map_or(Ok(()), |server| server.pause())?;
        node.enter(Condition::Stopped);
        Ok(())
    }

    fn restore(&self, node: &Place) -> io::Result<()> {
        let before = node.condition();
        node.enter(Condition::Restoring);
        let restored = match before {
            Condition::Killed => self.start_again(node),
            Condition::Stopped => {
                let resume = |set: &ReplicaSet| set.server_at(&node.server).map_or(Ok(()), |server| server.resume());
                resume(&self.servers.lock()).and_then(|()| self.follow_the_master(node))
            }
            Condition::Running | Condition::Slowed | Condition::Restoring => Ok(()),
        };
        let restored = restored.and_then(|()| node.proxy.set(NetworkFault::None));
        node.enter(if restored.is_ok() { Condition::Running } else { before });
        restored
    }

    /// Starts a killed server. It is empty: as the master, it would take all data from its replicas. So its return waits until
    /// the Sentinels have replaced it.
    fn start_again(&self, node: &Place) -> io::Result<()> {
        let end = Instant::now() + LONGEST_WAIT;
        while self.sentinels.master().is_ok_and(|master| master == node.server) && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
        }
        self.servers.lock().server_at_mut(&node.server).map_or(Ok(()), |server| server.restart())?;
        self.follow_the_master(node)
    }

    /// Makes a node that is back follow the present master. The Sentinels do this too, after about 10 s.
    fn follow_the_master(&self, node: &Place) -> io::Result<()> {
        let master = self.sentinels.master()?;
        let mut connection = match self.servers.lock().server_at(&node.server) {
            Some(server) => server.connection()?,
            None => return Ok(()),
        };
        let mut command = redis::cmd("REPLICAOF");
        match (master.host(), master.port()) {
            (Some(host), Some(port)) if master != node.server => command.arg(host).arg(port),
            _ => command.arg("NO").arg("ONE"),
        };
        command.exec(&mut connection).map_err(io::Error::other)
    }
}

impl Place {
    pub fn addr(&self) -> NodeAddr {
        self.proxy.addr()
    }

    pub fn condition(&self) -> Condition {
        *self.condition.lock()
    }

    fn slow(&self) -> io::Result<()> {
        self.require(&[Condition::Running], "slowed")?;
        self.proxy.set(NetworkFault::Delay(SLOWED_BY))?;
        self.enter(Condition::Slowed);
        Ok(())
    }

    fn enter(&self, condition: Condition) {
        *self.condition.lock() = condition;
    }

    fn require(&self, allowed: &[Condition], done: &str) -> io::Result<()> {
        if allowed.contains(&self.condition()) {
            return Ok(());
        }
        Err(io::Error::other(format!("node {} cannot be {done} now: restore it first", self.name)))
    }
}
