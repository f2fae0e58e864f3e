//! One shared connection to a node: what is known of it, and an exchange on it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use super::batches::Batches;
use super::halves::{SocketReceiver, SocketSender, separate};
use super::lock::SystemLock;
use super::queue::Answered;
use super::roles::{NoReply, Roles, State, Times};
use crate::classification::Request;
use crate::observe::{CloseReason, ConnectionLife};
use crate::pool::generation::Generation;
use crate::pool::lease::reason_of;
use crate::pool::limits::ReplyWait;
use crate::pool::open_connection::{OpenConnection, role_in_answer, role_question};
use crate::replication::Role;
use crate::retry::{Fault, Reply, Stage};

type Lock = SystemLock<State<SocketSender, SocketReceiver>>;

/// A connection on which callers share round trips.
pub(crate) struct SharedConnection {
    roles: Roles<SocketSender, SocketReceiver, Lock>,
    role: AtomicU8,
    knows_hello: bool,
    generation: Generation,
    /// It takes no further requests. It is closed when the callers that wait for it have gone.
    is_retired: AtomicBool,
    /// Its end was counted as a failure of the node.
    is_counted: AtomicBool,
    /// A large reply has begun. It takes no further requests either.
    is_full: Arc<AtomicBool>,
    life: Option<ConnectionLife>,
}

impl SharedConnection {
    /// Makes an open connection a shared one. `batches` counts what is sent on it. Returns `None` for connections of the redis crate.
    pub(super) fn of(
        connection: OpenConnection,
        batches: Arc<Batches>,
        life: Option<ConnectionLife>,
    ) -> io::Result<Option<Self>> {
        let (role, knows_hello) = (connection.role, connection.knows_hello());
        let generation = connection.generation().clone();
        let is_full = Arc::new(AtomicBool::new(false));
        let halves = separate(connection, Arc::clone(&is_full))?;
        Ok(halves.map(|(sender, receiver)| Self {
            roles: Roles::new(sender, receiver, batches),
            role: AtomicU8::new(code_of(role)),
            knows_hello,
            generation,
            is_retired: AtomicBool::new(false),
            is_counted: AtomicBool::new(false),
            is_full,
            life,
        }))
    }

    /// Returns whether it takes further requests.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: whoever sees it late is like one of those that wait already.
        !self.is_retired.load(Ordering::Relaxed) && !self.is_full.load(Ordering::Relaxed) && !self.generation.is_over()
    }

    /// Returns whether a large reply has begun on it.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Returns whether callers wait on it.
    pub(super) fn is_in_use(&self) -> bool {
        self.roles.is_in_use()
    }

    /// Takes no further requests from now on. `reason`: why; the first one counts.
    pub(crate) fn retire(&self, reason: CloseReason) {
        if let Some(life) = &self.life {
            life.ends_by(reason);
        }
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// Returns when it was opened, or last brought a reply.
    pub(crate) fn last_used(&self) -> Instant {
        self.roles.last_used()
    }

    /// Returns whether it has brought a reply to a request.
    #[inline]
    pub(crate) fn has_served(&self) -> bool {
        self.roles.answered().is_some()
    }

    /// Returns the role in the server's last answer, if it contained one.
    #[inline]
    pub(crate) fn role(&self) -> Option<Role> {
        match self.role.load(Ordering::Relaxed) {
            MASTER => Some(Role::Master),
            REPLICA => Some(Role::Replica),
            _ => None,
        }
    }

    /// Asks the server for its role.
    pub(crate) fn ask_role(&self, wait: ReplyWait) -> Result<(), Fault> {
        let question = Request::question(role_question(self.knows_hello));
        let answered = self.send(&question, false, wait).map_err(|fault| {
            let is_stale = matches!(fault.stage, Stage::Stale | Stage::Idle);
            Fault { stage: if is_stale { Stage::Idle } else { Stage::Connect }, ..fault }
        })?;
        if let Reply::One(reply) = &answered.reply {
            self.role.store(code_of(role_in_answer(reply, self.knows_hello)), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sends a request among those of other callers and waits for its reply. `between_infos`: the server says before and after
    /// it what it contains.
    #[inline]
    pub(crate) fn send(&self, request: &Request<'_>, between_infos: bool, wait: ReplyWait) -> Result<Answered, Fault> {
        let times = Times { now: wait.now, end: wait.end, due: wait.now.checked_add(wait.response) };
        self.roles.exchange(request, between_infos, times).map_err(|no_reply| self.fault(no_reply))
    }

    /// Returns the fault of a request without a reply, and takes no further ones if the connection is to blame.
    #[cold]
    fn fault(&self, no_reply: NoReply) -> Fault {
        match no_reply {
            NoReply::NotTaken => {
                self.retire(CloseReason::Error);
                Fault::new(Stage::Idle, None)
            }
            NoReply::Failed { was_sent, cause } => {
                let is_over = self.generation.is_over();
                self.retire(if is_over { CloseReason::Unhealthy } else { reason_of(&cause) });
                let fault = Fault::new(Stage::Sent, cause);
                let stage = match was_sent {
                    // Nothing of it left this process.
                    false => Stage::Idle,
                    true if self.generation.is_over() => Stage::Withdrawn,
                    true if self.has_served() && fault.was_closed() => Stage::Stale,
                    true => Stage::Sent,
                };
                // One connection is one failure of the node, however many callers it had.
                let is_uncounted = stage == Stage::Sent && self.is_counted.swap(true, Ordering::Relaxed);
                Fault { stage, is_uncounted, ..fault }
            }
            NoReply::TimeOver { is_overdue } => {
                if is_overdue {
                    self.retire(CloseReason::Error);
                }
                Fault::new(Stage::Sent, redis::RedisError::from(io::Error::from(io::ErrorKind::TimedOut)))
            }
        }
    }
}

const MASTER: u8 = 1;
const REPLICA: u8 = 2;

fn code_of(role: Option<Role>) -> u8 {
    match role {
        Some(Role::Master) => MASTER,
        Some(Role::Replica) => REPLICA,
        None => 0,
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("SharedConnection");
        out.field("role", &self.role()).field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}
