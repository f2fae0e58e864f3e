//! Why servers are not candidates, for people.

use std::time::Instant;

use super::decision::Exclusion;
use super::rank::{Rank, rank};
use super::select::{Contender, Contenders, Need, Suits};
use crate::addr::NodeAddr;

/// Returns why each server that is not a candidate is not one.
pub(crate) fn exclusions<S: Contender>(
    set: &Contenders<'_, S>,
    need: Need,
    suits: impl Fn(&S) -> Suits,
    now: Instant,
    candidates: &[NodeAddr],
) -> Vec<(NodeAddr, Exclusion)> {
    let reason = |server: &S| match rank(server.node(), server.assigned_role(), need.is_read, need.read_from, now) {
        _ if suits(server) == Suits::Unable => Exclusion::Unproven,
        Err(exclusion) => exclusion,
        Ok(Rank::LastResort) => Exclusion::Ejected,
        Ok(Rank::OutOfSync) => Exclusion::OutOfSync,
        Ok(Rank::Lagging) => Exclusion::Lagging,
        Ok(Rank::Fallback) if !need.may_fall_back => Exclusion::Protected,
        Ok(_) if suits(server) == Suits::Unlikely => Exclusion::Unproven,
        Ok(_) => Exclusion::Fallback,
    };
    let others = set.servers.iter().filter(|server| !candidates.contains(server.node().addr()));
    others.map(|server| (server.node().addr().clone(), reason(server))).collect()
}
