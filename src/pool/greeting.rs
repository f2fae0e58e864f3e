//! What is said first on a connection: login, database, name. In two forms, for not every server and proxy knows `HELLO`.

use std::fmt;

use redis::{ConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError, cmd, pipe};

/// How to log in at a node.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) info: ConnectionInfo,
    pub(crate) client_name: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing secret.
        f.debug_struct("Login").field("addr", &self.info.addr().to_string()).finish_non_exhaustive()
    }
}

pub(super) fn greeting(settings: &RedisConnectionInfo, client_name: Option<&str>) -> Vec<u8> {
    let mut hello = cmd("HELLO");
    hello.arg(if settings.protocol() == ProtocolVersion::RESP3 { 3 } else { 2 });
    if let Some(password) = settings.password() {
        hello.arg("AUTH").arg(settings.username().unwrap_or("default")).arg(password);
    }
    if let Some(name) = client_name {
        hello.arg("SETNAME").arg(name);
    }
    let mut greeting = hello.get_packed_command();
    if settings.db() != 0 {
        cmd("SELECT").arg(settings.db()).write_packed_command(&mut greeting);
    }
    greeting
}

pub(super) fn old_greeting(settings: &RedisConnectionInfo, client_name: Option<&str>) -> Vec<u8> {
    let mut greeting = pipe();
    if let Some(password) = settings.password() {
        greeting.cmd("AUTH").arg(settings.username()).arg(password);
    }
    if settings.db() != 0 {
        greeting.cmd("SELECT").arg(settings.db());
    }
    if let Some(name) = client_name {
        greeting.cmd("CLIENT").arg("SETNAME").arg(name);
    }
    greeting.cmd("ROLE");
    greeting.get_packed_pipeline()
}

/// Returns whether a server that refused the greeting would refuse the old one as well: it minds the login, the number of
/// clients or its own state, and not the command.
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

/// Old servers echo the arguments of a command that they do not know: of `HELLO 3 AUTH`, the password.
pub(super) fn without_echo(error: RedisError) -> RedisError {
    let detail = error.detail().unwrap_or_default();
    if error.code() == Some("ERR") && detail.to_ascii_lowercase().contains("unknown command") {
        return (redis::ErrorKind::RESP3NotSupported, "the server does not know HELLO, which RESP3 needs").into();
    }
    error
}

/// Whatever words a server has for it: the password that it was given is not repeated.
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
    use super::{is_about_login, without_password};
    use redis::parse_redis_value;

    #[test]
    fn no_wording_repeats_the_password() {
        for line in ["ERR invalid password s3cret", "WRONGPASS s3cret", "DENIED s3cret", "ERR wrong number s3cret"] {
            let error = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err();
            assert!(!without_password(error.clone(), Some("s3cret")).to_string().contains("s3cret"), "{line}");
            assert_eq!(without_password(error.clone(), Some("other")), error);
            assert_eq!(without_password(error.clone(), None), error);
        }
    }

    #[test]
    fn whatever_is_not_about_the_login_is_said_again_without_hello() {
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
}
