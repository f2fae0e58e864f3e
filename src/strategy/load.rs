//! The load of a node, for its weight.

use std::cmp::Ordering;

use crate::node::Node;

/// The requests of this process in flight to a node, the next one included, divided by its weight.
///
/// A total order: compared by cross-multiplication, without rounding. A node of weight 0 has a larger load than all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// At most 2^32: its product with a weight fits.
    requests: u64,
    weight: u64,
}

impl Load {
    #[inline]
    pub(super) fn of(node: &Node) -> Self {
        Self { requests: u64::from(node.in_flight()) + 1, weight: u64::from(node.weight()) }
    }

    #[inline]
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        (self.requests * other.weight).cmp(&(other.requests * self.weight))
    }
}

#[cfg(test)]
mod tests {
    use super::Load;
    use std::cmp::Ordering;

    #[test]
    fn the_largest_loads_and_weights_compare_exactly() {
        let load = |in_flight: u32, weight: u32| Load { requests: u64::from(in_flight) + 1, weight: weight.into() };
        assert_eq!(load(u32::MAX, u32::MAX).cmp(&load(u32::MAX, u32::MAX - 1)), Ordering::Less);
        assert_eq!(load(3, 2).cmp(&load(1, 1)), Ordering::Equal);
        assert_eq!(load(u32::MAX, 1).cmp(&load(0, 0)), Ordering::Less);
        assert_eq!(load(9, 0).cmp(&load(0, 0)), Ordering::Equal);
    }
}
