//! Sync states along the chain of replication: a replica of a replica says that its link is up while its parent is cut
//! off. Does no I/O.

use crate::node::SyncState;

/// Lowers the state of each node to that of the nodes through which it replicates. `handed_on` is the state that each node
/// hands on: what a silent node said last does not count. `parents` says through which other node each one replicates, as far
/// as that is known. `None`: it follows the master, or an unknown node.
pub(super) fn inherit(own: &[SyncState], handed_on: &[SyncState], parents: &[Option<usize>]) -> Vec<SyncState> {
    let inherited = |index: usize| {
        let (mut at, mut state) = (index, own[index]);
        // At most as often as there are nodes: what they say at different times may be a circle.
        for _ in 0..own.len() {
            match parents[at].filter(|_| state == SyncState::InSync) {
                Some(parent) => (at, state) = (parent, handed_on[parent]),
                None => break,
            }
        }
        state
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
            assert_eq!(inherit(&own, &own, &parents), [InSync, state, state, state, InSync]);
        }
        let silent = [InSync, LinkDown, InSync, InSync, InSync];
        let inherited = inherit(&[InSync; 5], &silent, &parents);
        assert_eq!(inherited, [InSync, InSync, LinkDown, LinkDown, InSync], "behind a silent one");
        let own = [InSync, LinkDown, Syncing, InSync, Lagging];
        assert_eq!(inherit(&own, &own, &parents), [InSync, LinkDown, Syncing, Syncing, Lagging], "the nearest counts");
        assert_eq!(inherit(&[InSync; 5], &[InSync; 5], &parents), [InSync; 5]);
    }

    #[test]
    fn circles_end() {
        assert_eq!(inherit(&[InSync; 3], &[InSync; 3], &[Some(1), Some(2), Some(0)]), [InSync; 3]);
        assert_eq!(inherit(&[InSync; 1], &[InSync; 1], &[Some(0)]), [InSync]);
        let own = [InSync, InSync, Lagging];
        assert_eq!(inherit(&own, &own, &[Some(1), Some(0), Some(0)]), own);
        assert_eq!(inherit(&[], &[], &[]), []);
    }
}
