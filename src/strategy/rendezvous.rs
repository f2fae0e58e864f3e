//! The same candidate for the same key.

use super::contract::{Candidates, MOST_NODES, Strategy};
use super::random::Random;
use crate::hash::{Fnv, mix};
use crate::node::Node;

/// Picks the same candidate for the same key, in every process. So each replica keeps its part of the keys in its memory or page
/// cache. For a command without a key, it picks a random candidate.
///
/// This is weighted rendezvous hashing: the hash of the key and the address gives a number for each candidate, and the best
/// number for the weight wins. Keys are spread by weight. If a node is missing, only its keys move, to all other nodes; later
/// only these keys move back. A changed weight moves as few keys as possible. The texts of the addresses are hashed: processes
/// that write an address differently spread the keys differently. A key that is read very often is not spread.
#[derive(Debug, Default)]
pub struct Rendezvous {
    without_key: Random,
}

const PLACES: u64 = MOST_NODES as u64;
/// Twice the z of [`earliest`] for the draw 1/2.
const HIGHER: f64 = 2.0 / 3.0;
/// How many times later than [`earliest`] such a draw is at most: artanh z / z.
const LATER: f64 = 1.04;
/// More than the loss by rounding and by the bits that hold the place.
const ROUNDING: f64 = 1.0 + 1e-9;

impl Rendezvous {
    /// Makes a strategy with a random seed for commands without a key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a strategy with this seed for commands without a key. Picks by key need no seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { without_key: Random::seeded(seed) }
    }
}

impl Strategy for Rendezvous {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let Some(key) = candidates.key() else { return self.without_key.pick(candidates) };
        let key = Fnv::of(key);
        let (mut least, mut second) = (u64::MAX, u64::MAX);
        for (place, node) in (0..).zip(candidates.iter()) {
            let bound = earliest(mix(key ^ node.hash()), node.weight(), place);
            second = second.min(bound.max(least));
            least = least.min(bound);
        }
        let likely = candidates.at((least % PLACES) as usize);
        let (least, second) = (f64::from_bits(least), f64::from_bits(second - second % PLACES));
        // Usually the others are later, whatever their exact times are. For higher draws, this needs no logarithm.
        let is_clear = least * f64::from(likely.weight()) < HIGHER && least * LATER < second
            || time(mix(key ^ likely.hash()), likely.weight()) * ROUNDING < second;
        if is_clear { likely } else { compared(candidates, key) }
    }

    fn needs_latency(&self) -> bool {
        false
    }
}

/// Compares the exact times.
#[cold]
fn compared<'a>(candidates: &Candidates<'a>, key: u64) -> &'a Node {
    let mut best = candidates.at(0);
    let (mut best_draw, mut best_weight) = (mix(key ^ best.hash()), best.weight());
    for node in candidates.iter().skip(1) {
        let (draw, weight) = (mix(key ^ node.hash()), node.weight());
        // For equal weights, the higher draw has the earlier time, also by less than a time tells.
        let wins =
            if weight == best_weight { draw > best_draw } else { time(draw, weight) < time(best_draw, best_weight) };
        if wins {
            (best, best_draw, best_weight) = (node, draw, weight);
        }
    }
    best
}

/// Returns a time before [`time`], but not by much for the high draws that win, as the bits of a number of which the lowest
/// are the place: so it takes neither a logarithm nor a branch to find the least.
///
/// -ln u = 2 artanh z ≥ 2 z, z being (1 - u) / (1 + u).
#[inline]
fn earliest(draw: u64, weight: u32, place: u64) -> u64 {
    const ONE: f64 = (1_u64 << 52) as f64;
    let rest = (!draw >> 12) as f64 + 0.5;
    let bound = (rest + rest) / ((ONE + ONE - rest) * f64::from(weight));
    // Not negative: such numbers are in the order of their bits.
    bound.to_bits() / PLACES * PLACES + place
}

/// Turns an even draw into a fraction of 1, exactly: neither 0 nor 1. That of `!draw` is the rest to 1.
#[inline]
fn fraction(draw: u64) -> f64 {
    ((draw >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// Turns an even draw into the time of the first event at the rate `weight`, of which the earliest wins:
/// -ln(u) / weight, u being the draw as a fraction of 1.
///
/// With basic arithmetic only, which is the same on every machine; `f64::ln` is not, and takes longer.
#[inline]
fn time(draw: u64, weight: u32) -> f64 {
    const ROOT: i64 = std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64;
    let u = fraction(draw);
    // u = m × 2^e, 0.7 ≤ m < 1.4: so the series is exact where u is near 1.
    let bits = u.to_bits() as i64;
    let e = (bits - ROOT) >> 52;
    let m = f64::from_bits((bits - (e << 52)) as u64);
    // ln m = 2 artanh((m - 1) / (m + 1)); the next term is below 10^-7.
    let s = (m - 1.0) / (m + 1.0);
    let squared = s * s;
    let series = 2.0 * s * (1.0 + squared * (1.0 / 3.0 + squared * (1.0 / 5.0 + squared / 7.0)));
    -(e as f64 * std::f64::consts::LN_2 + series) / f64::from(weight)
}

#[cfg(test)]
mod tests {
    use super::{LATER, Rendezvous, compared, earliest, time};
    use crate::hash::Fnv;
    use crate::node::Node;
    use crate::strategy::{Candidates, Strategy};

    const KEYS: u32 = 10_000;

    fn nodes(weights: &[u32]) -> Vec<Node> {
        let node =
            |(n, weight): (usize, &u32)| Node::new(format!("10.0.0.{n}:6379").parse().unwrap()).with_weight(*weight);
        weights.iter().enumerate().map(node).collect()
    }

    /// The places of the nodes that the keys go to.
    fn places(nodes: &[Node], keep: impl Fn(usize) -> bool) -> Vec<usize> {
        let kept: Vec<&Node> = (0..nodes.len()).filter(|n| keep(*n)).map(|n| &nodes[n]).collect();
        let candidates = Candidates::new(&kept).unwrap();
        let strategy = Rendezvous::new();
        let place = |key: String| {
            let picked = strategy.pick(&candidates.clone().with_key(key.as_bytes()));
            nodes.iter().position(|node| std::ptr::eq(node, picked)).unwrap()
        };
        (0..KEYS).map(|n| place(format!("user:{n}"))).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        for weights in [&[1; 4][..], &[1; 16], &[5, 3, 1, 1], &[1, 1000], &[u32::MAX, u32::MAX, 1, 0]] {
            let (nodes, sum) = (nodes(weights), weights.iter().copied().map(f64::from).sum::<f64>());
            let places = places(&nodes, |_| true);
            for (n, weight) in weights.iter().enumerate() {
                let share = places.iter().filter(|place| **place == n).count() as f64 / f64::from(KEYS);
                assert!((share - f64::from(*weight) / sum).abs() < 0.02, "{share} for {weight} of {weights:?}");
            }
        }
    }

    #[test]
    fn without_one_node_only_its_keys_move_and_to_all_others() {
        for weights in [[1; 5], [4, 1, 2, 1, 9]] {
            let nodes = nodes(&weights);
            let before = places(&nodes, |_| true);
            for missing in 0..5 {
                let after = places(&nodes, |n| n != missing);
                let mut gained = [0; 5];
                for (before, after) in before.iter().zip(&after).filter(|(before, after)| before != after) {
                    assert_eq!(*before, missing, "a key of another node moved");
                    gained[*after] += 1;
                }
                assert!((0..5).all(|n| n == missing || gained[n] > 0), "{gained:?}");
            }
        }
    }

    #[test]
    fn more_weight_only_attracts_keys() {
        let mut nodes = nodes(&[2, 2, 2, 2]);
        let before = places(&nodes, |_| true);
        nodes[1].set_weight(3);
        let after = places(&nodes, |_| true);
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 1));
        nodes.rotate_left(1);
        let rotated: Vec<usize> = places(&nodes, |_| true).iter().map(|place| (place + 1) % 4).collect();
        assert_eq!(after, rotated, "the order of the nodes does not matter");
    }

    #[test]
    fn keys_stay_where_they_were_in_earlier_versions() {
        let places = places(&nodes(&[1, 2, 3, 4]), |_| true);
        assert_eq!(places[..16], PLACES);
    }

    const PLACES: [usize; 16] = [2, 2, 3, 0, 3, 3, 0, 3, 3, 2, 2, 3, 1, 0, 2, 1];

    #[test]
    fn without_a_key_picks_are_even_and_repeatable() {
        let nodes = nodes(&[1; 4]);
        let candidates = Candidates::new(&nodes.iter().collect::<Vec<_>>()).unwrap();
        let trace = || {
            let strategy = Rendezvous::seeded(3);
            (0..1000).map(|_| strategy.pick(&candidates).addr()).collect::<Vec<_>>()
        };
        assert_eq!(trace(), trace());
        assert!((200..300).contains(&trace().iter().filter(|addr| **addr == nodes[0].addr()).count()));
    }

    #[test]
    fn the_short_cut_picks_as_the_exact_times_do() {
        for weights in [&[1; 16][..], &[1, 2, 3, 4, 5, 6, 7, 8], &[1, 1000], &[3, u32::MAX, u32::MAX, 0], &[0, 0]] {
            let nodes = nodes(weights);
            let candidates = Candidates::new(&nodes.iter().collect::<Vec<_>>()).unwrap();
            for key in (0..KEYS).map(|n| n.to_string()) {
                let picked = Rendezvous::new().pick(&candidates.clone().with_key(key.as_bytes()));
                assert!(std::ptr::eq(picked, compared(&candidates, Fnv::of(key.as_bytes()))), "{key} {weights:?}");
            }
        }
    }

    #[test]
    fn times_are_exponential() {
        for draw in [0, 1, 1 << 20, 1 << 62, (1 << 63) - 1, 1 << 63, 3 << 62, u64::MAX - (1 << 30), u64::MAX] {
            let u = ((draw >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
            assert!((time(draw, 1) / -u.ln() - 1.0).abs() < 1e-6, "{draw}");
            let least = f64::from_bits(earliest(draw, 1, 0));
            assert!(least <= time(draw, 1) && (draw < 1 << 63 || least * LATER > time(draw, 1)), "{draw}");
            assert!(time(draw, 2) < time(draw, 1) && time(draw, u32::MAX) > 0.0 && time(draw, 0) == f64::INFINITY);
        }
    }
}
