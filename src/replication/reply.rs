//! Reads the reply to `ROLE`.

use redis::Value;

use super::info::number;
use super::report::{Report, addr_of};
use super::role::Role;
use crate::addr::NodeAddr;

/// Returns the role that a reply to `ROLE` names, which is its first word.
pub(crate) fn role_in_reply(reply: &Value) -> Option<Role> {
    Role::of_word(text_of(items(reply).first()?)?)
}

impl Report {
    /// Reads `["master", offset, [[host, port, offset], …]]` or `["slave", host, port, state, offset]`.
    pub(crate) fn of_role(reply: &Value) -> Self {
        let all = items(reply);
        match role_in_reply(reply) {
            Some(Role::Master) => {
                // Dragonfly gives no offset: the list comes earlier.
                let lists = all.iter().map(items).filter(|list| !list.is_empty());
                let follower =
                    |item: &Value| addr(items(item).first(), items(item).get(1).and_then(text_of).and_then(number));
                Self::of_master_role(all.get(1).and_then(count), lists.flatten().filter_map(follower))
            }
            Some(Role::Replica) => {
                let master = addr(all.get(1), all.get(2).and_then(count));
                Self::of_replica_role(master, all.get(3).and_then(text_of), all.get(4).and_then(count))
            }
            None => Self::default(),
        }
    }
}

/// Returns the text of a reply, in whichever form the server sends it.
pub(crate) fn text_of(reply: &Value) -> Option<&[u8]> {
    match reply {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.as_bytes()),
        _ => None,
    }
}

fn items(reply: &Value) -> &[Value] {
    if let Value::Array(items) = reply { items } else { &[] }
}

fn count(reply: &Value) -> Option<u64> {
    match reply {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => number(text_of(other)?),
    }
}

fn addr(host: Option<&Value>, port: Option<u64>) -> Option<NodeAddr> {
    addr_of(std::str::from_utf8(text_of(host?)?).ok()?, u16::try_from(port?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::{Report, Role, role_in_reply, text_of};
    use crate::addr::NodeAddr;
    use redis::{Value, parse_redis_value};

    fn parsed(reply: &str) -> Value {
        parse_redis_value(reply.replace('|', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_master_lists_its_replicas() {
        let reply = parsed("*3|$6|master|:84|*2|*3|$8|10.0.0.2|$4|7001|$2|70|*3|$1|x|$5|70001|$1|0|");
        let report = Report::of_role(&reply);
        assert_eq!((report.role, report.offset), (Some(Role::Master), Some(84)));
        assert_eq!(report.followers, [NodeAddr::tcp("10.0.0.2", 7001)], "the other port is none");
        assert!(report.link.is_none() && report.history.is_none());
        assert_eq!(role_in_reply(&reply), Some(Role::Master));
    }

    #[test]
    fn a_replica_names_its_master_and_the_state_of_its_link() {
        let report = Report::of_role(&parsed("*5|$5|slave|$8|10.0.0.1|:7000|$9|connected|:70|"));
        assert_eq!((report.role, report.offset), (Some(Role::Replica), Some(70)));
        assert_eq!(report.link.as_ref().unwrap().master, Some(NodeAddr::tcp("10.0.0.1", 7000)));
        assert!(report.is_linked() && !report.is_syncing());
        let cut = Report::of_role(&parsed("*5|$5|slave|$8|10.0.0.1|:7000|$7|connect|:-1|"));
        assert!(!cut.is_linked() && cut.offset.is_none());
        let syncing = Report::of_role(&parsed("*5|$5|slave|$8|10.0.0.1|:7000|$4|sync|:-1|"));
        assert!(syncing.is_syncing());
    }

    #[test]
    fn dragonfly_gives_no_offset_and_its_port_as_a_text() {
        let master = Report::of_role(&parsed("*2|$6|master|*1|*3|$8|10.0.0.2|$4|7001|$6|online|"));
        assert_eq!((master.offset, &master.followers[..]), (None, &[NodeAddr::tcp("10.0.0.2", 7001)][..]));
        let replica = Report::of_role(&parsed("*4|$7|replica|$8|10.0.0.1|$4|7000|$11|stable_sync|"));
        assert_eq!(replica.link.as_ref().unwrap().master, Some(NodeAddr::tcp("10.0.0.1", 7000)));
        assert!(replica.is_linked() && replica.offset.is_none());
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        for reply in ["$-1|", "+OK|", "*0|", "*1|:1|", "*2|$8|sentinel|*0|", "*1|*1|$6|master|"] {
            let reply = parsed(reply);
            assert_eq!((Report::of_role(&reply), role_in_reply(&reply)), (Report::default(), None), "{reply:?}");
        }
        let short = Report::of_role(&parsed("*1|$5|slave|"));
        assert!(short.role == Some(Role::Replica) && short.link.is_none() && short.is_linked());
        assert_eq!(text_of(&Value::Int(1)), None);
    }
}
