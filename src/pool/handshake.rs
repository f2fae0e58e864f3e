//! The handshake on a fresh connection: login, database, client name and role.
//!
//! It has two forms, because not every server and proxy knows `HELLO`.

use std::fmt;

use redis::{ConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError, Value, cmd, pipe};

use crate::replication::{Role, text_of};

/// How to log in at a node.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) info: ConnectionInfo,
    pub(crate) client_name: Option<String>,
}

/// The kind of server in a reply to `HELLO`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HelloReply {
    /// A data node, with its role if the reply contains it: a proxy may leave it out.
    Data(Option<Role>),
    /// A Sentinel, which holds no data.
    Sentinel,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing secret.
        f.debug_struct("Login").field("addr", &self.info.addr().to_string()).finish_non_exhaustive()
    }
}

impl HelloReply {
    /// Reads the reply: a map in RESP3, a flat list of names and values in RESP2.
    pub(super) fn of(reply: &Value) -> Self {
        if field(reply, "mode") == Some(b"sentinel") {
            return Self::Sentinel;
        }
        Self::Data(field(reply, "role").and_then(Role::of_word))
    }
}

/// Returns the role in a reply to `HELLO`.
pub(crate) fn role_in_hello(reply: &Value) -> Option<Role> {
    match HelloReply::of(reply) {
        HelloReply::Data(role) => role,
        HelloReply::Sentinel => None,
    }
}

/// Returns whether a reply to `HELLO` comes from a server whose replicas do not apply writes in the master's order.
/// That is Dragonfly: each of its shards replicates separately.
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

/// Returns `HELLO …`, then `SELECT` unless the database is 0.
pub(super) fn with_hello(settings: &RedisConnectionInfo, client_name: Option<&str>) -> Vec<u8> {
    let mut hello = cmd("HELLO");
    hello.arg(if settings.protocol() == ProtocolVersion::RESP3 { 3 } else { 2 });
    if let Some(password) = settings.password() {
        hello.arg("AUTH").arg(settings.username().unwrap_or("default")).arg(password);
    }
    if let Some(name) = client_name {
        hello.arg("SETNAME").arg(name);
    }
    let mut commands = hello.get_packed_command();
    if settings.db() != 0 {
        cmd("SELECT").arg(settings.db()).write_packed_command(&mut commands);
    }
    commands
}

/// Returns the same handshake for servers and proxies that do not know `HELLO`. It ends with `ROLE`.
pub(super) fn without_hello(settings: &RedisConnectionInfo, client_name: Option<&str>) -> Vec<u8> {
    let mut commands = pipe();
    if let Some(password) = settings.password() {
        commands.cmd("AUTH").arg(settings.username()).arg(password);
    }
    if settings.db() != 0 {
        commands.cmd("SELECT").arg(settings.db());
    }
    if let Some(name) = client_name {
        commands.cmd("CLIENT").arg("SETNAME").arg(name);
    }
    commands.cmd("ROLE");
    commands.get_packed_pipeline()
}

/// Returns whether a server that refused `HELLO` would refuse the other form as well: the reason is the login, the
/// number of clients or the state of the server, and not the command.
pub(super) fn is_about_login(refusal: &RedisError) -> bool {
    let detail = refusal.detail().unwrap_or_default();
    match refusal.code() {
        Some("WRONGPASS" | "NOAUTH" | "DENIED" | "LOADING" | "MASTERDOWN" | "BUSY" | "MISCONF" | "OOM") => true,
        Some("ERR") => ["max number of clients", "DB index", "invalid password", "AUTH <password> called"]
            .iter()
            .any(|words| detail.starts_with(words)),
        _ => false,
    }
}

/// Replaces the error of a server that does not know `HELLO`: old servers repeat the arguments of an unknown command,
/// and so the password.
pub(super) fn without_echo(error: RedisError) -> RedisError {
    let detail = error.detail().unwrap_or_default();
    if error.code() == Some("ERR") && detail.to_ascii_lowercase().contains("unknown command") {
        return (redis::ErrorKind::RESP3NotSupported, "the server does not know HELLO, which RESP3 needs").into();
    }
    error
}

/// Replaces an error that repeats the password, whatever its text.
pub(super) fn without_password(error: RedisError, password: Option<&str>) -> RedisError {
    let repeats = |password: &str| !password.is_empty() && error.to_string().contains(password);
    match error.code() {
        Some(code) if password.is_some_and(repeats) => {
            // The code may be a part of the password as well.
            let code = if password.is_some_and(|password| password.contains(code)) { "ERR" } else { code };
            redis::make_extension_error(code.to_owned(), Some("the server repeated the login".to_owned()))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::{HelloReply, is_about_login, replicates_without_order, without_password};
    use crate::replication::Role;
    use redis::{Value, parse_redis_value};

    #[test]
    fn no_error_repeats_the_password() {
        for line in ["ERR invalid password s3cret", "WRONGPASS s3cret", "DENIED s3cret", "ERR wrong number s3cret"] {
            let error = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err();
            assert!(!without_password(error.clone(), Some("s3cret")).to_string().contains("s3cret"), "{line}");
            assert_eq!(without_password(error.clone(), Some("other")), error);
            assert_eq!(without_password(error.clone(), None), error);
        }
    }

    #[test]
    fn a_refusal_that_is_not_about_the_login_leads_to_the_form_without_hello() {
        for (line, is_about) in [
            ("ERR unknown command 'HELLO', with args beginning with: '2' 'AUTH' ", false),
            ("ERR unknown command `HELLO`", false),
            ("ERR unsupported command", false),
            ("unsupported command", false),
            ("NOPROTO unsupported protocol version", false),
            ("NOPERM this user has no permissions to run the 'hello' command", false),
            ("ERR invalid request", false),
            ("ERR syntax error", false),
            ("WRONGPASS invalid username-password pair or user is disabled.", true),
            ("NOAUTH HELLO must be called with the client already authenticated", true),
            ("ERR AUTH <password> called without any password configured for the default user.", true),
            ("ERR invalid password", true),
            ("ERR max number of clients reached", true),
            ("ERR DB index is out of range", true),
            ("LOADING Redis is loading the dataset in memory", true),
            ("DENIED Redis is running in protected mode", true),
        ] {
            let refusal = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err();
            assert_eq!(is_about_login(&refusal), is_about, "{line}");
        }
    }

    #[test]
    fn the_role_is_read_in_both_protocols() {
        let flat =
            parse_redis_value(b"*4\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n").unwrap();
        assert_eq!(HelloReply::of(&flat), HelloReply::Data(Some(Role::Master)));
        let map = parse_redis_value(b"%1\r\n$4\r\nrole\r\n$7\r\nreplica\r\n").unwrap();
        assert_eq!(HelloReply::of(&map), HelloReply::Data(Some(Role::Replica)));
        let sentinel = parse_redis_value(b"*2\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n").unwrap();
        assert_eq!(HelloReply::of(&sentinel), HelloReply::Sentinel);
    }

    #[test]
    fn servers_that_replicate_by_shards_are_recognised() {
        for (reply, is_one) in [
            ("*4\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$17\r\ndragonfly_version\r\n$9\r\ndf-v1.40\n\r\n", true),
            ("%1\r\n$17\r\ndragonfly_version\r\n$8\r\ndf-v1.40\r\n", true),
            ("%1\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n", false),
        ] {
            assert_eq!(replicates_without_order(&parse_redis_value(reply.as_bytes()).unwrap()), is_one);
        }
    }

    #[test]
    fn a_role_that_is_not_in_the_reply_is_not_known() {
        for reply in
            [Value::Nil, Value::Okay, Value::Array(vec![]), Value::Array(vec![Value::Int(1)]), Value::Map(vec![])]
        {
            assert_eq!(HelloReply::of(&reply), HelloReply::Data(None));
        }
    }
}
