//! Connections that belong to their user alone.

use redis::Connection;

use super::ReplicatedClient;
use super::clock::Clock;
use crate::addr::NodeAddr;
use crate::error::{Error, ErrorKind, Result};
use crate::replication::Role;
use crate::retry::{Obstacle, Waited};
use crate::selection::ReadFrom;
use crate::topology::{Assigned, Hint, LeftOut, Need, NoChoice, Topology};

/// The node that a dedicated connection leads to.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The master.
    Master,
    /// A replica, chosen by the strategy.
    Replica,
    /// The node at this address, whatever its role.
    Node(NodeAddr),
}

impl ReplicatedClient {
    /// Opens a connection outside the pools: for pub/sub, `MONITOR`, `SELECT`, administration of one node.
    ///
    /// It logs in as the pooled ones do, has no time limits, is never routed anywhere else and is closed on drop.
    /// Unreachable nodes are tried until the deadline of this handle.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the set has no such node, or it is not in the role asked for;
    /// [`ErrorKind::Checkout`] if no connection could be made; [`ErrorKind::Server`] if the login was refused.
    pub fn dedicated(&self, target: Target) -> Result<Connection> {
        let mut clock = Clock::start(self.options.deadline);
        let mut left_out = LeftOut::default();
        let mut topology = self.shared.store.current();
        let mut earlier: Option<Error> = None;
        loop {
            let position = self.position_of(&topology, &target, &clock, left_out);
            let Some(position) = position.map_err(|error| error.after(earlier.as_ref()))? else {
                if let Some(refused) = earlier.take_if(|error| is_refusal(error)) {
                    return Err(refused);
                }
                left_out = LeftOut::default();
                topology = self.wait(&topology, &mut clock);
                if !clock.goes_on() {
                    return Err(earlier.unwrap_or_else(|| self.none_found(&target)));
                }
                continue;
            };
            let server = &topology.servers()[position];
            let error = match open(&target, server, &clock) {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            clock.tick();
            if server.assigned_role == Role::Master {
                self.shared.store.suspect();
            }
            // Another replica may take the login.
            if is_refusal(&error) && target != Target::Replica {
                return Err(error);
            }
            if !clock.goes_on() {
                // What is left of the deadline may be too short for anything.
                let is_late = error.as_redis().is_some_and(redis::RedisError::is_timeout);
                return Err(earlier.filter(|_| is_late).unwrap_or(error));
            }
            earlier = Some(error);
            left_out.insert(position);
        }
    }

    /// The error where no node was tried.
    fn none_found(&self, target: &Target) -> Error {
        let what = match target {
            Target::Master => "no master was found in time".to_owned(),
            Target::Replica => "no replica was found in time".to_owned(),
            Target::Node(addr) => format!("{addr} was not found in time"),
        };
        self.missing(what)
    }

    /// Finds the next member to try. `None`: all were tried, or it is not known yet.
    fn position_of(
        &self,
        topology: &Topology,
        target: &Target,
        clock: &Clock,
        left_out: LeftOut,
    ) -> Result<Option<usize>> {
        let missing = |what: String| Error::new(ErrorKind::Unavailable, what);
        let position = match target {
            Target::Master if !topology.is_settled() => return Ok(None),
            Target::Master => topology.master().ok_or_else(|| missing("the set has no master".to_owned()))?,
            Target::Node(addr) => {
                topology.find(addr).ok_or_else(|| missing(format!("{addr} is no node of this set")))?
            }
            Target::Replica => {
                let need = Need {
                    is_read: true,
                    read_from: ReadFrom::Replica,
                    may_fall_back: false,
                    hint: Hint::None,
                    presumes: false,
                    left_for_good: false,
                };
                match topology.choose(need, clock.now(), left_out) {
                    Ok(mut choice) => return Ok(self.pick_among(topology, &mut choice, None, clock)),
                    Err(NoChoice::Later | NoChoice::Protected) => return Ok(None),
                    Err(NoChoice::Nobody) => return Err(missing("the set has no replica".to_owned())),
                }
            }
        };
        Ok((!left_out.contains(position)).then_some(position))
    }
}

/// Returns whether the login or a certificate was refused: trying again changes nothing.
fn is_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::Server || error.as_redis().is_some_and(|cause| Obstacle::of(cause).is_refusal())
}

fn open(target: &Target, server: &Assigned, clock: &Clock) -> Result<Connection> {
    let addr = server.node.addr();
    let end = clock.attempt_end(false);
    let (connection, role) = server.pool.connect_unpooled(end).map_err(|fault| {
        let limit = Waited { setting: "connect_timeout", time: server.pool.limits().connect };
        let fault = fault.after_waiting(limit, clock.now(), end.map(|end| (end, "deadline")));
        fault.into_connect_error(&server.node)
    })?;
    match role {
        Some(role) if role != server.assigned_role && !matches!(target, Target::Node(_)) => {
            Err(Error::new(ErrorKind::Unavailable, format!("is a {role} now")).about(addr))
        }
        _ => Ok(connection),
    }
}
