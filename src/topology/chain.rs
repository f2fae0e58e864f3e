//! Sync states along the chain of replication: a replica of a replica says that its link is up while its parent is cut
//! off. Decisions only, no I/O.

use crate::node::SyncState;

/// Lowers the state of each node to that of the nodes through which it replicates. `parents` says through which other
/// node each one replicates, as far as that is known; `None` for those that follow the master, or somebody unknown.
pub(super) fn inherit(own: &[SyncState], parents: &[Option<usize>]) -> Vec<SyncState> {
    let inherited = |index: usize| {
        let mut at = index;
        // No longer than there are nodes: what they say at different times may be a circle.
        for _ in 0..own.len() {
            if own[at] != SyncState::InSync {
                break;
            }
            match parents[at] {
                Some(parent) => at = parent,
                None => break,
            }
        }
        own[at]
    };
    (0..own.len()).map(inherited).collect()
}

#[cfg(test)]
mod tests {
    use super::inherit;
    use crate::node::SyncState::{Diverged, InSync, Lagging, LinkDown, Syncing};

    #[test]
    fn a_node_is_as_good_as_the_worst_through_which_it_replicates() {
        // 0 is the master; 1 <- 2 <- 3, and 4 beside them.
        let parents = [None, None, Some(1), Some(2), None];
        for state in [Syncing, LinkDown, Lagging, Diverged] {
            let own = [InSync, state, InSync, InSync, InSync];
            assert_eq!(inherit(&own, &parents), [InSync, state, state, state, InSync]);
        }
        let own = [InSync, LinkDown, Syncing, InSync, Lagging];
        assert_eq!(inherit(&own, &parents), [InSync, LinkDown, Syncing, Syncing, Lagging], "the nearest counts");
        assert_eq!(inherit(&[InSync; 5], &parents), [InSync; 5]);
    }

    #[test]
    fn circles_end() {
        assert_eq!(inherit(&[InSync; 3], &[Some(1), Some(2), Some(0)]), [InSync; 3]);
        assert_eq!(inherit(&[InSync; 1], &[Some(0)]), [InSync]);
        assert_eq!(inherit(&[InSync, InSync, Lagging], &[Some(1), Some(0), Some(0)]), [InSync, InSync, Lagging]);
        assert_eq!(inherit(&[], &[]), []);
    }
}
