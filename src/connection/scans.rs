//! The open scans of a routed connection: which node each cursor belongs to.

use std::hash::{DefaultHasher, Hash, Hasher};

use redis::Value;

use crate::addr::NodeAddr;
use crate::classification::Cursor;
use crate::session::Watermark;

/// How many open scans are remembered; the oldest is forgotten first. Most scans are never continued.
const REMEMBERED: usize = 8;

/// The cursors that one connection received, and the nodes that they belong to. Never allocates.
#[derive(Debug, Default)]
pub(super) struct Scans {
    /// The oldest first, free places last.
    open: [Option<Scan>; REMEMBERED],
}

#[derive(Debug)]
struct Scan {
    /// A hash of what is scanned: command family and key.
    target: u64,
    cursor: u64,
    node: NodeAddr,
    /// The watermark that its first page had to contain.
    watermark: Option<Watermark>,
    /// How many scans of this target are at this cursor; never 0.
    holders: u32,
}

impl Scans {
    /// Returns the node that a cursor came from, and the watermark that the first page of its scan had to contain.
    pub(super) fn find(&self, cursor: &Cursor<'_>) -> Option<(&NodeAddr, Option<Watermark>)> {
        let (target, value) = (target(cursor), id(cursor.value));
        self.open
            .iter()
            .flatten()
            .find(|scan| scan.target == target && scan.cursor == value)
            .map(|scan| (&scan.node, scan.watermark))
    }

    /// Returns the node of an unfinished scan of the same target.
    pub(super) fn node_of(&self, cursor: &Cursor<'_>) -> Option<&NodeAddr> {
        let target = target(cursor);
        self.open.iter().flatten().find(|scan| scan.target == target).map(|scan| &scan.node)
    }

    /// Returns whether a scan is unfinished on this node.
    pub(super) fn is_open_on(&self, node: &NodeAddr) -> bool {
        self.open.iter().flatten().any(|scan| scan.node == *node)
    }

    /// Forgets the scans on a node, whose pinned connection is lost or returned.
    pub(super) fn forget(&mut self, node: &NodeAddr) {
        self.open
            .iter_mut()
            .filter(|slot| slot.as_ref().is_some_and(|scan| scan.node == *node))
            .for_each(|slot| *slot = None);
    }

    /// Records the next cursor of a scan, from the reply to a page of it.
    pub(super) fn advance(
        &mut self,
        cursor: &Cursor<'_>,
        continues: bool,
        reply: &Value,
        node: &NodeAddr,
        watermark: Option<Watermark>,
    ) {
        // An error, or a reply that is no page: the cursor that was sent stays valid.
        let Some(next) = next_cursor(cursor, reply) else { return };
        let (target, sent) = (target(cursor), id(cursor.value));
        let is_same = |scan: &Scan, cursor| scan.target == target && scan.cursor == cursor;
        for slot in &mut self.open {
            let Some(scan) = slot else { continue };
            if continues && is_same(scan, sent) {
                scan.holders -= 1;
            }
            // A scan of the same target on another node: that node failed, and the scan began again here.
            if scan.holders == 0 || (scan.target == target && scan.node != *node) {
                *slot = None;
            }
        }
        if next == 0 {
            return;
        }
        if let Some(scan) = self.open.iter_mut().flatten().find(|scan| is_same(scan, next)) {
            scan.holders = scan.holders.saturating_add(1);
            return;
        }
        // The sort is stable, so the scans stay in the order of age.
        self.open.sort_by_key(Option::is_none);
        if self.open[REMEMBERED - 1].is_some() {
            self.open.rotate_left(1);
            self.open[REMEMBERED - 1] = None;
        }
        if let Some(free) = self.open.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(Scan { target, cursor: next, node: node.clone(), watermark, holders: 1 });
        }
    }
}

/// Returns the cursor in the reply to a page; 0: the scan is finished.
fn next_cursor(cursor: &Cursor<'_>, reply: &Value) -> Option<u64> {
    let Value::Array(page) = reply else { return None };
    let next = if cursor.trailing { page.last() } else { page.first() };
    match next? {
        Value::BulkString(bytes) => Some(id(bytes)),
        Value::SimpleString(text) => Some(id(text.as_bytes())),
        // `id` gives the same number for its text.
        Value::Int(number) => Some(*number as u64),
        _ => None,
    }
}

/// Returns a number for a cursor: its value, or a hash for the cursors of `CLUSTERSCAN`, which are no numbers.
fn id(cursor: &[u8]) -> u64 {
    let number = std::str::from_utf8(cursor).ok().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| hash(cursor) | 1)
}

/// Returns a hash of what a cursor scans.
fn target(cursor: &Cursor<'_>) -> u64 {
    hash((cursor.family, cursor.scanned))
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED, Scans};
    use crate::classification::Cursor;
    use redis::Value;

    fn cursor(value: &'static [u8], scanned: &'static [u8]) -> Cursor<'static> {
        Cursor { value, family: "HSCAN", scanned, trailing: false }
    }

    fn page(next: &str) -> Value {
        Value::Array(vec![Value::BulkString(next.into()), Value::Array(vec![])])
    }

    #[test]
    fn a_cursor_is_known_for_what_it_scans_until_the_scan_ends() {
        let mut scans = Scans::default();
        let node = "n:1".parse().unwrap();
        scans.advance(&cursor(b"0", b"a"), false, &page("17"), &node, None);
        assert_eq!(scans.find(&cursor(b"17", b"a")).map(|(node, _)| node), Some(&node));
        assert_eq!(scans.find(&cursor(b"17", b"b")), None);
        assert_eq!(scans.find(&cursor(b"18", b"a")), None);
        scans.advance(&cursor(b"17", b"a"), true, &Value::Nil, &node, None);
        assert_eq!(
            scans.find(&cursor(b"17", b"a")).map(|(node, _)| node),
            Some(&node),
            "a failed page can be requested again"
        );
        scans.advance(&cursor(b"17", b"a"), true, &page("23"), &node, None);
        assert_eq!(scans.find(&cursor(b"17", b"a")), None);
        scans.advance(&cursor(b"23", b"a"), true, &page("0"), &node, None);
        assert_eq!(scans.find(&cursor(b"23", b"a")), None);
    }

    #[test]
    fn scans_of_one_key_are_on_one_node() {
        let mut scans = Scans::default();
        let (a, b) = ("a:1".parse().unwrap(), "b:1".parse().unwrap());
        scans.advance(&cursor(b"0", b"k"), false, &page("17"), &a, None);
        assert_eq!(scans.node_of(&cursor(b"0", b"k")), Some(&a));
        assert_eq!(scans.node_of(&cursor(b"0", b"other")), None);
        scans.advance(&cursor(b"0", b"k"), false, &page("23"), &b, None);
        assert_eq!((scans.find(&cursor(b"17", b"k")), scans.find(&cursor(b"23", b"k"))), (None, Some((&b, None))));
    }

    #[test]
    fn the_last_scans_are_remembered() {
        let mut scans = Scans::default();
        let keys: [&[u8]; 10] = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"];
        for key in keys {
            scans.advance(&cursor(b"0", key), false, &page("5"), &"n:1".parse().unwrap(), None);
        }
        scans.advance(&cursor(b"0", b"ends at once"), false, &page("0"), &"n:1".parse().unwrap(), None);
        let forgotten = keys.map(|key| scans.find(&cursor(b"5", key)).is_none());
        assert_eq!(forgotten.iter().position(|forgotten| !forgotten), Some(keys.len() - REMEMBERED));
        assert_eq!(forgotten.iter().filter(|forgotten| !**forgotten).count(), REMEMBERED);
        for _ in 0..REMEMBERED {
            scans.advance(&cursor(b"0", b"9"), false, &page("5"), &"n:1".parse().unwrap(), None);
        }
        assert!(scans.find(&cursor(b"5", b"3")).is_some(), "the same abandoned scan is remembered once");
    }
}
