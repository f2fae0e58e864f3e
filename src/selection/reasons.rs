//! The reasons why servers are not candidates, for `explain`.

use std::time::Instant;

use super::exclusion::Exclusion;
use super::rank::{Rank, rank};
use super::select::{Contender, Contenders, Criteria, Likelihood};
use crate::addr::NodeAddr;

/// Returns the reason for each server that is not a candidate.
pub(crate) fn exclusion_reasons<S: Contender>(
    set: &Contenders<'_, S>,
    criteria: Criteria,
    likelihood: impl Fn(&S) -> Likelihood,
    now: Instant,
    candidates: &[NodeAddr],
) -> Vec<(NodeAddr, Exclusion)> {
    let reason =
        |server: &S| match rank(server.node(), server.assigned_role(), criteria.is_read, criteria.read_from, now) {
            _ if likelihood(server) == Likelihood::Impossible => Exclusion::Unproven,
            Err(exclusion) => exclusion,
            Ok(Rank::LastResort) => Exclusion::Ejected,
            Ok(Rank::OutOfSync) => Exclusion::OutOfSync,
            Ok(Rank::Lagging) => Exclusion::Lagging,
            Ok(Rank::Fallback) if !criteria.may_fall_back => Exclusion::Protected,
            Ok(_) if likelihood(server) == Likelihood::Unlikely => Exclusion::Unproven,
            Ok(_) => Exclusion::Fallback,
        };
    let others = set.servers.iter().filter(|server| !candidates.contains(server.node().addr()));
    others.map(|server| (server.node().addr().clone(), reason(server))).collect()
}
