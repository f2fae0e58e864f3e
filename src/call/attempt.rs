//! One attempt on one server: a connection, the request, the reply.

use std::time::{Duration, Instant};

use super::around::{Around, Unpacked};
use crate::classification::{Block, Request};
use crate::node::Outcome;
use crate::pool::{Lease, Patience};
use crate::replication::Role;
use crate::retry::{DEADLINE, Deadline, Fault, Refusal, Reply, Stage, Waited, turned_away};
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
    let purpose = Purpose { must_be_alive: !request.is_read(), blocks: request.block != Block::No, has_more };
    let mut lease = server.checkout(purpose, deadline, end)?;
    let reply = exchange(request, around, server, &mut lease, deadline, end);
    // One that lacks what was asked for has answered as well.
    let is_answer =
        reply.as_ref().map_or_else(|fault| matches!(fault.stage, Stage::Behind | Stage::NoEvidence), |_| true);
    // What it took to connect says little about the next call.
    if is_answer && request.is_timed() && !lease.took_time() && server.node.is_timed(deadline.now()) {
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
    lease: &mut Lease,
    deadline: &Deadline,
    end: Option<Instant>,
) -> Result<Reply, Fault> {
    let last_used = lease.last_used();
    let now = if lease.took_time() { Instant::now() } else { deadline.now() };
    let response = server.pool.limits().response;
    let send = |request: &Request<'_>| lease.send(request, limit(response, request.block, now, end));
    let (block, sent) = around.exchange(request, server, now, send);
    match sent {
        Ok(unpacked) => {
            settle(request, server, lease, &unpacked, now);
            around.verify(request, server, unpacked)
        }
        Err(fault) => {
            server.distrust(&fault, last_used);
            around.record_fault(request, &fault);
            // The node is another one than that which the connection led to: its end says nothing about it.
            let is_of_old = last_used.is_some_and(|last_used| server.pool.is_of_old(last_used));
            let stage = if fault.stage == Stage::Sent && is_of_old { Stage::Stale } else { fault.stage };
            Err(unanswered(server, block, Fault { stage, ..fault }, deadline, end))
        }
    }
}

/// Decides whether a connection that has answered may be lent again.
#[inline]
fn settle<E>(request: &Request<'_>, server: &Assigned, lease: &mut Lease, answer: &Unpacked<E>, now: Instant) {
    if answer.is_refused_in_this_form {
        // The transaction may be open still.
        lease.discard();
        server.refused.refuse_transactions(now);
        return;
    }
    match turned_away(request, &answer.reply) {
        None => lease.served(now),
        Some(refusal) => {
            lease.discard();
            if refusal == Refusal::ReadOnly {
                // It is a replica: every connection to it is now validated before the next write.
                server.observe_role(Role::Replica);
            }
        }
    }
}

/// Records which limit the wait for a reply met.
#[cold]
fn unanswered(server: &Assigned, block: Block, fault: Fault, deadline: &Deadline, end: Option<Instant>) -> Fault {
    let response = server.pool.limits().response;
    let (time, blocked) = match block {
        Block::For(block) => (response + block, block),
        Block::No | Block::Forever => (response, Duration::ZERO),
    };
    let end = end.and_then(|end| end.checked_add(blocked)).map(|end| (end, DEADLINE));
    fault.after_waiting(Waited { setting: "response_timeout", time }, deadline.now(), end)
}

/// Returns how long an exchange that begins `now` may wait for its reply, if the attempt must be over by `end`.
#[inline]
fn limit(response: Duration, block: Block, now: Instant, end: Option<Instant>) -> Patience {
    let own = match block {
        Block::No => now.checked_add(response),
        Block::For(block) => now.checked_add(response.saturating_add(block)),
        Block::Forever => None,
    };
    // What a command blocks by its own argument comes on top.
    let end = match block {
        Block::No => end,
        Block::For(block) => end.and_then(|end| end.checked_add(block)),
        Block::Forever => None,
    };
    Patience::until(own.into_iter().chain(end).min(), now)
}

#[cfg(test)]
mod tests {
    use super::limit;
    use crate::classification::Block;
    use std::time::{Duration, Instant};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_exchange_ends_with_its_limit_or_its_attempt() {
        let now = Instant::now();
        let end = Some(now + 3 * SECOND / 2);
        let left = |response, block, end| limit(response, block, now, end).left(now);
        assert_eq!(left(SECOND, Block::No, end), Some(SECOND));
        assert_eq!(left(5 * SECOND, Block::No, end), Some(3 * SECOND / 2));
        assert_eq!(left(SECOND, Block::For(10 * SECOND), end), Some(11 * SECOND));
        assert_eq!(left(5 * SECOND, Block::For(10 * SECOND), end), Some(23 * SECOND / 2));
        assert_eq!(left(SECOND, Block::Forever, end), Some(Duration::MAX));
    }
}
