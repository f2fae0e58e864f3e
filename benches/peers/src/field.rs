//! Everything that the arms need, and the turns of each.

use std::sync::OnceLock;

use redis::cluster::ClusterClient;
use redis::cluster_read_routing::RoundRobinReplicaStrategy;
use tokio::runtime::{Builder, Runtime};

use crate::arm::Arm;
use crate::caller::{AsyncCaller, Outcome, text};
use crate::cpu::Watched;
use crate::nodes::{Cluster, Nodes};
use crate::ours;
use crate::plain::{BlockOn, Own, OwnCluster, Pools};
use crate::reference::Reference;
use crate::tasks::{self, InTurn};
use crate::turn::{Plan, SMALL, Turn, on_tasks, on_threads};

/// The servers, and what some arms only need.
pub struct Field {
    pub nodes: Nodes,
    pub pool: u32,
    cluster: OnceLock<Outcome<Cluster>>,
    reference: OnceLock<Outcome<Reference>>,
}

impl Field {
    pub fn new(nodes: Nodes, pool: u32) -> Self {
        Self { nodes, pool, cluster: OnceLock::new(), reference: OnceLock::new() }
    }

    /// Lets one arm read, with clients and connections of this turn only.
    pub fn turn(&self, arm: Arm, plan: &Plan, callers: usize) -> Outcome<Turn> {
        let watched = self.nodes.watched()?;
        let urls = self.nodes.replicas();
        match arm {
            Arm::Leases | Arm::Shared => {
                let client = ours::client(&self.nodes, self.pool, u32::from(arm == Arm::Shared))?;
                Ok(on_threads(plan, &watched, vec![client; callers]))
            }
            Arm::SharedSessions => {
                let client = ours::client(&self.nodes, self.pool, 1)?;
                Ok(on_threads(plan, &watched, ours::sessions(&client, callers)?))
            }
            Arm::ConnectionPerThread => Ok(on_threads(plan, &watched, Own::callers(&urls, callers)?)),
            Arm::R2d2Stock | Arm::R2d2Unchecked => {
                let callers = Pools::callers(&urls, self.pool, arm == Arm::R2d2Stock, callers)?;
                Ok(on_threads(plan, &watched, callers))
            }
            Arm::MultiplexedThreads => {
                let runtime = runtime()?;
                let connections = runtime.block_on(tasks::multiplexed(urls))?;
                Ok(on_threads(plan, &watched, BlockOn::callers(&connections, runtime.handle(), callers)))
            }
            Arm::MultiplexedTasks => in_turn(plan, &watched, tasks::multiplexed(urls), callers),
            Arm::Fred => in_turn(plan, &watched, tasks::fred(urls), callers),
            Arm::Rustis => in_turn(plan, &watched, tasks::rustis(urls), callers),
            Arm::ClusterThreads | Arm::ClusterTasks => self.cluster_turn(arm, plan, callers),
            Arm::Ioredis | Arm::Glide => {
                let reference = self.reference.get_or_init(Reference::install);
                reference.as_ref().map_err(String::clone)?.turn(arm, plan, &self.nodes, callers)
            }
        }
    }

    fn cluster_turn(&self, arm: Arm, plan: &Plan, callers: usize) -> Outcome<Turn> {
        if self.nodes.has_line() {
            return Err("a cluster tells clients its own addresses, which do not lead over the line".to_owned());
        }
        let cluster = self.cluster.get_or_init(|| Cluster::start(SMALL)).as_ref().map_err(String::clone)?;
        let watched = cluster.watched()?;
        let strategy = RoundRobinReplicaStrategy::default();
        let client = ClusterClient::builder(cluster.urls()).read_routing_strategy(strategy).build().map_err(text)?;
        if arm == Arm::ClusterThreads {
            let caller = |_| client.get_connection().map(OwnCluster).map_err(text);
            return Ok(on_threads(plan, &watched, (0..callers).map(caller).collect::<Outcome<_>>()?));
        }
        let runtime = runtime()?;
        let connection = runtime.block_on(client.get_async_connection()).map_err(text)?;
        Ok(on_tasks(plan, &watched, &runtime, vec![connection; callers]))
    }
}

/// Lets tasks read with the clients that `connect` returns.
fn in_turn<C>(
    plan: &Plan,
    watched: &Watched,
    connect: impl Future<Output = Outcome<Vec<C>>>,
    callers: usize,
) -> Outcome<Turn>
where
    C: Clone,
    InTurn<C>: AsyncCaller,
{
    let runtime = runtime()?;
    let clients = runtime.block_on(connect)?;
    Ok(on_tasks(plan, watched, &runtime, InTurn::callers(&clients, callers)))
}

pub fn runtime() -> Outcome<Runtime> {
    Builder::new_multi_thread().enable_all().build().map_err(text)
}
