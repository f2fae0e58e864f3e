//! One attempt on one server: a connection, the request, the reply.

use std::time::Instant;

use super::around::{Around, Unpacked};
use crate::classification::Request;
use crate::node::Outcome;
use crate::observe::CloseReason;
use crate::pool::{Connection, LONGEST_SHARED, Line};
use crate::replication::Role;
use crate::retry::{Deadline, Fault, Refusal, Reply, Stage, refused_as_not_serving};
use crate::topology::{Assigned, Purpose};

/// Tries one server once.
#[inline]
pub(super) fn attempt(
    request: &Request<'_>,
    around: &impl Around,
    server: &Assigned,
    deadline: &Deadline,
    has_more: bool,
) -> Result<Reply, Fault> {
    let _claim = server.node.claim(deadline.now()).map_err(|_| Fault::new(Stage::Avoided, None))?;
    let end = deadline.attempt_end(has_more);
    let purpose = Purpose::of(request, around.may_share(), has_more);
    let mut connection = server.checkout(purpose, deadline, end)?;
    let reply = exchange(request, around, server, &mut connection, deadline, end);
    // A server that cannot prove its reply has answered all the same.
    let is_answer =
        reply.as_ref().map_or_else(|fault| matches!(fault.stage, Stage::Behind | Stage::NoEvidence), |_| true);
    // The time it took to connect says little about the next call.
    if is_answer && request.is_timed() && !connection.took_time() && server.node.is_timed(deadline.now()) {
        let now = Instant::now();
        server.node.record_at(Outcome::Answered, now.saturating_duration_since(deadline.now()), now);
    }
    reply
}

/// Sends a request on a connection that is ready for it.
#[inline]
pub(super) fn exchange<A: Around>(
    request: &Request<'_>,
    around: &A,
    server: &Assigned,
    connection: &mut Connection,
    deadline: &Deadline,
    end: Option<Instant>,
) -> Result<Reply, Fault> {
    let last_used = connection.last_used();
    let now = if connection.took_time() { Instant::now() } else { deadline.now() };
    let response = server.pool.limits().response;
    let (block, sent) = around.exchange(request, server, now, Line { connection, response, now, end });
    // What is sent along may make it a long one.
    if request.bytes.len() > LONGEST_SHARED / 2 {
        deadline.spend(connection.take_spent());
    }
    match sent {
        Ok(unpacked) => {
            keep_or_discard(request, server, connection, &unpacked, now);
            around.verify(request, server, unpacked)
        }
        Err(fault) => {
            server.distrust(&fault, last_used);
            around.record_fault(request, &fault);
            // The connection is of an earlier generation of the pool: its end says nothing about the node.
            let is_of_old = last_used.is_some_and(|last_used| server.pool.is_of_old(last_used));
            let stage = if fault.stage == Stage::Sent && is_of_old { Stage::Stale } else { fault.stage };
            Err(Fault { stage, ..fault }.after_reply_wait(response, block, deadline.now(), end))
        }
    }
}

/// Decides whether a connection that has answered may be lent again.
#[inline]
fn keep_or_discard<E>(
    request: &Request<'_>,
    server: &Assigned,
    connection: &mut Connection,
    answer: &Unpacked<E>,
    now: Instant,
) {
    if answer.is_transaction_refused {
        // The transaction may still be open.
        connection.discard(CloseReason::Application);
        server.refused.refuse_transactions(now);
        return;
    }
    match refused_as_not_serving(request, &answer.reply) {
        None => connection.served(now),
        Some(refusal) => {
            connection.discard(CloseReason::Unhealthy);
            if refusal == Refusal::ReadOnly {
                // It is a replica: every connection to it is validated before the next write.
                server.observe_role(Role::Replica);
            }
        }
    }
}
