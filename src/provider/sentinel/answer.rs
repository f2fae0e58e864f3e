//! What a Sentinel says about its service, and which of several answers counts.

use std::collections::BTreeMap;

use redis::{RedisResult, Value, from_redis_value};

use crate::addr::NodeAddr;
use crate::replication::{MOST_FOLLOWERS, addr_of};

/// What one Sentinel says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// The master, as this Sentinel sees it.
    pub(super) master: NodeAddr,
    /// Grows with each failover.
    pub(super) epoch: u64,
    /// The other nodes, those that it can reach first.
    pub(super) others: Vec<NodeAddr>,
    /// Those of them that it has marked as down.
    pub(super) down: Vec<NodeAddr>,
    /// It lists all of them. Missing rights may keep it from that.
    pub(super) is_whole: bool,
}

type Fields = BTreeMap<String, String>;

impl Answer {
    /// Reads the replies to `GET-MASTER-ADDR-BY-NAME`, `MASTER` and `REPLICAS`, the last two as far as rights allow them.
    /// `None`: it does not know the service.
    pub(super) fn read(replies: &[RedisResult<Value>]) -> Option<Self> {
        let reply = |index: usize| replies.get(index)?.as_ref().ok();
        let (host, port): (String, u16) = from_redis_value(reply(0)?.clone()).ok()?;
        let master = addr_of(&host, port)?;
        let about: Fields = reply(1).and_then(|reply| from_redis_value(reply.clone()).ok()).unwrap_or_default();
        let epoch = about.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        let replicas: Option<Vec<Fields>> = reply(2).and_then(|reply| from_redis_value(reply.clone()).ok());
        let is_whole = replicas.is_some();
        let replicas = replicas.unwrap_or_default();
        // In the middle of a failover the new master is still listed as a replica, and the old one as the master.
        let mut all: Vec<(Reach, NodeAddr)> =
            replicas.iter().chain([&about]).filter_map(|fields| Some((reach(fields), addr_in(fields)?))).collect();
        all.retain(|(_, addr)| *addr != master);
        all.sort_by_key(|(reach, _)| *reach);
        all.truncate(MOST_FOLLOWERS);
        let down = all.iter().filter(|(reach, _)| *reach == Reach::Down).map(|(_, addr)| addr.clone()).collect();
        let others = all.into_iter().map(|(_, addr)| addr).collect();
        Some(Self { master, epoch, others, down, is_whole })
    }
}

fn addr_in(fields: &Fields) -> Option<NodeAddr> {
    addr_of(fields.get("ip")?, fields.get("port")?.parse().ok()?)
}

/// How well a Sentinel reaches a node.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Reach {
    Well,
    /// Not at the moment.
    Disconnected,
    /// It has not answered for longer than it may.
    Down,
}

fn reach(fields: &Fields) -> Reach {
    let flags = || fields.get("flags").map(String::as_str).unwrap_or_default().split(',');
    if flags().any(|flag| matches!(flag, "s_down" | "o_down")) {
        Reach::Down
    } else if flags().any(|flag| flag == "disconnected") {
        Reach::Disconnected
    } else {
        Reach::Well
    }
}

/// Returns the answer that counts: the one with the highest config epoch; of several, one with the master that most name.
pub(super) fn combine(answers: Vec<Answer>) -> Option<Answer> {
    let epoch = answers.iter().map(|answer| answer.epoch).max()?;
    let latest: Vec<&Answer> = answers.iter().filter(|answer| answer.epoch == epoch).collect();
    let votes = |answer: &Answer| latest.iter().filter(|other| other.master == answer.master).count();
    let mut best = latest.iter().rev().max_by_key(|answer| votes(answer)).map(|answer| (*answer).clone())?;
    // One Sentinel may have learnt of a replica before another.
    for answer in &latest {
        let news: Vec<NodeAddr> =
            answer.others.iter().filter(|addr| **addr != best.master && !best.others.contains(addr)).cloned().collect();
        best.others.extend(news);
        best.is_whole |= answer.is_whole;
    }
    // A node is down if no Sentinel reaches it.
    let reaches = |answer: &&Answer, addr: &NodeAddr| answer.others.contains(addr) && !answer.down.contains(addr);
    best.others.truncate(MOST_FOLLOWERS);
    best.down = best.others.iter().filter(|addr| !latest.iter().any(|answer| reaches(answer, addr))).cloned().collect();
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::{Answer, combine};
    use crate::addr::NodeAddr;
    use proptest::collection::vec;
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
    use proptest::sample::select;
    use redis::Value;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn fields(port: &str, more: &[(&str, &str)]) -> Value {
        let all = [("ip", "10.0.0.1"), ("port", port)].into_iter().chain(more.iter().copied());
        Value::Array(all.flat_map(|(name, value)| [text(name), text(value)]).collect())
    }

    fn addr(port: u16) -> NodeAddr {
        NodeAddr::tcp("10.0.0.1", port)
    }

    #[test]
    fn an_answer_in_the_middle_of_a_failover_lists_each_node_once() {
        let replies = [
            Ok(Value::Array(vec![text("10.0.0.1"), text("2")])),
            Ok(fields("1", &[("config-epoch", "7"), ("flags", "master,s_down")])),
            Ok(Value::Array(vec![fields("2", &[]), fields("3", &[("flags", "slave")])])),
        ];
        let answer = Answer::read(&replies).unwrap();
        assert_eq!((&answer.master, answer.epoch), (&addr(2), 7));
        assert_eq!(answer.others, [addr(3), addr(1)], "those that can be reached first");
        assert_eq!(Answer::read(&[Ok(Value::Nil), Ok(Value::Nil), Ok(Value::Nil)]), None);
        assert_eq!(Answer::read(&[]), None);
    }

    #[test]
    fn a_node_is_down_if_no_sentinel_that_lists_it_reaches_it() {
        let replica = |port: &str, flags: &str| fields(port, &[("flags", flags)]);
        let answer = |flags: [&str; 2]| {
            let listed = Value::Array(vec![replica("2", flags[0]), replica("3", flags[1])]);
            let master = Value::Array(vec![text("10.0.0.1"), text("1")]);
            Answer::read(&[Ok(master), Ok(fields("1", &[])), Ok(listed)]).unwrap()
        };
        let down = "s_down,slave,disconnected";
        assert_eq!(answer([down, "slave"]).down, [addr(2)]);
        assert_eq!(answer([down, "slave"]).others, [addr(3), addr(2)]);
        assert_eq!(answer(["slave,disconnected", down]).down, [addr(3)], "one that was just found is not down");
        let all = vec![answer([down, down]), answer([down, "slave"])];
        assert_eq!(combine(all).unwrap().down, [addr(2)]);
    }

    #[test]
    fn the_highest_epoch_counts_and_then_the_majority() {
        let answer = |master: u16, epoch, others: &[u16]| Answer {
            master: addr(master),
            epoch,
            others: others.iter().map(|port| addr(*port)).collect(),
            down: vec![],
            is_whole: true,
        };
        let late = combine(vec![answer(1, 1, &[2]), answer(1, 1, &[2]), answer(2, 2, &[1])]).unwrap();
        assert_eq!(late.master, addr(2));
        let torn = combine(vec![answer(1, 1, &[]), answer(2, 1, &[3]), answer(2, 1, &[4])]).unwrap();
        assert_eq!((torn.master, torn.others), (addr(2), vec![addr(3), addr(4)]));
        assert_eq!(combine(vec![]), None);
    }

    #[test]
    fn what_is_kept_of_an_answer_is_bounded() {
        let master = || Ok(Value::Array(vec![text("10.0.0.1"), text("2")]));
        let many = (0..10_000).map(|port| fields(&(port + 3).to_string(), &[])).collect();
        let answer = Answer::read(&[master(), Ok(Value::Nil), Ok(Value::Array(many))]).unwrap();
        assert_eq!(answer.others.len(), super::MOST_FOLLOWERS);
        let long = text(&"x".repeat(1 << 20));
        assert_eq!(Answer::read(&[Ok(Value::Array(vec![long.clone(), text("2")]))]), None);
        let odd = Value::Array(vec![Value::Array(vec![text("ip"), long, text("port"), text("3")])]);
        assert_eq!(Answer::read(&[master(), Ok(Value::Nil), Ok(odd)]).unwrap().others, []);
    }

    /// Values of which answers are made, in any order and nesting.
    fn value() -> impl Strategy<Value = Value> {
        let words = ["ip", "port", "flags", "config-epoch", "10.0.0.1", "6379", "65536", "-1", "s_down,", "master", ""];
        let leaf = prop_oneof![
            4 => select(words.to_vec()).prop_map(text),
            1 => vec(any::<u8>(), 0..8).prop_map(Value::BulkString),
            1 => any::<i64>().prop_map(Value::Int),
            1 => Just(Value::Nil),
            1 => Just(Value::Double(f64::NAN)),
        ];
        leaf.prop_recursive(3, 64, 8, |inner| {
            let pairs = vec((inner.clone(), inner.clone()), 0..6);
            prop_oneof![4 => vec(inner, 0..8).prop_map(Value::Array), 1 => pairs.prop_map(Value::Map)]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_answer_is_too_odd(about in value(), replicas in value(), odd in value()) {
            let master = Value::Array(vec![text("10.0.0.1"), text("2")]);
            let whole = Answer::read(&[Ok(master), Ok(about.clone()), Ok(replicas.clone())]).unwrap();
            prop_assert!(whole.master == addr(2) && !whole.others.contains(&whole.master));
            let answers = [Some(whole), Answer::read(&[Ok(odd), Ok(replicas), Ok(about)])];
            prop_assert!(combine(answers.into_iter().flatten().collect()).is_some());
        }
    }
}
