//! Reads the reply to `HELLO`.

use redis::Value;

use crate::replication::{Role, text_of};

/// What a reply to `HELLO` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Greeting {
    /// A data node; a proxy may keep its role to itself.
    Role(Option<Role>),
    /// A Sentinel, which holds no data.
    Sentinel,
}

/// Reads the reply to `HELLO`: a map in RESP3, a flat list of names and values in RESP2.
pub(super) fn read_greeting(reply: &Value) -> Greeting {
    if field(reply, "mode") == Some(b"sentinel") {
        return Greeting::Sentinel;
    }
    Greeting::Role(field(reply, "role").and_then(Role::of_word))
}

/// Returns whether a reply to `HELLO` comes from a server whose replicas do not apply writes in the master's order: each shard of
/// Dragonfly replicates for itself.
pub(crate) fn replicates_without_order(reply: &Value) -> bool {
    field(reply, "dragonfly_version").is_some()
}

fn field<'a>(reply: &'a Value, name: &str) -> Option<&'a [u8]> {
    match reply {
        Value::Map(fields) => {
            fields.iter().find(|(key, _)| text_of(key) == Some(name.as_bytes())).and_then(|(_, value)| text_of(value))
        }
        Value::Array(items) => items
            .chunks_exact(2)
            .find(|pair| text_of(&pair[0]) == Some(name.as_bytes()))
            .and_then(|pair| text_of(&pair[1])),
        _ => None,
    }
}

/// Returns the role that a reply to `HELLO` names.
pub(crate) fn role_in_greeting(reply: &Value) -> Option<Role> {
    match read_greeting(reply) {
        Greeting::Role(role) => role,
        Greeting::Sentinel => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Greeting, read_greeting, replicates_without_order};
    use crate::replication::Role;
    use redis::{Value, parse_redis_value};

    #[test]
    fn the_role_is_read_in_both_protocols() {
        let flat =
            parse_redis_value(b"*4\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n").unwrap();
        assert_eq!(read_greeting(&flat), Greeting::Role(Some(Role::Master)));
        let map = parse_redis_value(b"%1\r\n$4\r\nrole\r\n$7\r\nreplica\r\n").unwrap();
        assert_eq!(read_greeting(&map), Greeting::Role(Some(Role::Replica)));
        let sentinel = parse_redis_value(b"*2\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n").unwrap();
        assert_eq!(read_greeting(&sentinel), Greeting::Sentinel);
    }

    #[test]
    fn servers_that_replicate_by_shards_say_so() {
        for (reply, is_one) in [
            ("*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$17\r\ndragonfly_version\r\n$9\r\ndf-v1.40\n\r\n", true),
            ("%1\r\n$17\r\ndragonfly_version\r\n$8\r\ndf-v1.40\r\n", true),
            ("%1\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n", false),
        ] {
            assert_eq!(replicates_without_order(&parse_redis_value(reply.as_bytes()).unwrap()), is_one);
        }
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        for reply in
            [Value::Nil, Value::Okay, Value::Array(vec![]), Value::Array(vec![Value::Int(1)]), Value::Map(vec![])]
        {
            assert_eq!(read_greeting(&reply), Greeting::Role(None));
        }
    }
}
