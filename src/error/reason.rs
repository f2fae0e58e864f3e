//! The reason of a failure in words, as the redis crate, the system or the server reported it: without numbers of the system,
//! values or secrets.

use std::fmt;
use std::io;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerError, Value, parse_redis_value};

use super::cause::{TlsError, io_error};

/// After these words, a server repeats the arguments of an unknown command: of `HELLO 3 AUTH`, the password.
const ECHO: &str = ", with args beginning with";
/// The largest number of characters of a server's error that is shown.
const LONGEST: usize = 300;

/// Shows an error of the redis crate on one line.
pub(super) struct Reason<'a>(pub(super) &'a RedisError);

/// Returns the error without values: without the bytes of unreadable replies, and without arguments that a server repeats.
pub(super) fn without_values(cause: RedisError) -> RedisError {
    match cause.kind() {
        // The text quotes the bytes.
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            (cause.kind(), "the reply is not what the protocol or the command lets expect").into()
        }
        kind if cause.to_string().contains(ECHO) => {
            let unknown = || (kind, "the server does not know the command").into();
            let errors = cause.into_server_errors();
            errors.and_then(|errors| Some(without_echo(&errors.first()?.1)?.into())).unwrap_or_else(unknown)
        }
        _ => cause,
    }
}

/// Returns the server's error without the arguments that it repeats; `None` if it repeats none.
pub(crate) fn without_echo(error: &ServerError) -> Option<ServerError> {
    let (details, _) = error.details()?.split_once(ECHO)?;
    server_error_of(error.code(), details)
}

/// Makes an error of a server. The redis crate makes one from a reply only.
pub(crate) fn server_error_of(code: &str, details: &str) -> Option<ServerError> {
    let line = format!("-{code} {details}").replace(['\r', '\n'], " ") + "\r\n";
    match parse_redis_value(line.as_bytes()) {
        Ok(Value::ServerError(error)) => Some(error),
        _ => None,
    }
}

/// Returns the error in words, on one line.
pub(crate) fn words_of(cause: &RedisError) -> String {
    Reason(cause).to_string()
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(errors) = self.0.clone().into_server_errors() {
            return show_errors(f, &errors);
        }
        if let Some(error) = io_error(self.0) {
            return f.write_str(&words_of_io(error));
        }
        // The redis crate writes `description - Kind: detail`.
        let text = self.0.to_string().replacen(&format!(" - {:?}", self.0.kind()), "", 1);
        f.write_str(&plain(&text))
    }
}

fn show_errors(f: &mut fmt::Formatter<'_>, errors: &[(usize, ServerError)]) -> fmt::Result {
    match errors {
        [] => f.write_str("an error"),
        [(_, only)] => f.write_str(&line_of(only)),
        [(index, first), others @ ..] => {
            write!(f, "{} (command {index}; {} more failed)", line_of(first), others.len())
        }
    }
}

/// Returns the server's error as it was sent, without its full stop.
fn line_of(error: &ServerError) -> String {
    plain(&format!("{} {}", error.code(), error.details().unwrap_or_default()))
}

/// Returns the text as one line of bounded length, without a full stop.
fn plain(text: &str) -> String {
    let text = text.split_once(ECHO).map_or(text, |(before, _)| before);
    let shown: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LONGEST).collect();
    shown.trim_end_matches([' ', '.', ',']).to_owned()
}

fn words_of_io(error: &io::Error) -> String {
    if let Some(error) = TlsError::inside(error) {
        return plain(&error.to_string());
    }
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "connection reset",
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected => "connection closed",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::NotFound => "no such file",
        _ => return words_of_system(&error.to_string()),
    };
    words.to_owned()
}

/// Returns the words of the system, without the error number.
fn words_of_system(text: &str) -> String {
    let text = text.split_once(" (os error").map_or(text, |(words, _)| words);
    if let Some((_, why)) = text.split_once("failed to lookup address information") {
        let is_known = !why.contains("emporary") && !why.contains("ry again");
        return if is_known { "host name not found" } else { "the host name could not be looked up" }.to_owned();
    }
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    plain(&first.into_iter().chain(letters).collect::<String>())
}

/// A time for people: `250 ms`, `1 s`, `1.5 s`.
pub(crate) struct Time(pub(crate) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = (self.0.as_micros().saturating_add(500) / 1000).max(1);
        match (millis / 1000, millis % 1000) {
            (0, millis) => write!(f, "{millis} ms"),
            (seconds, 0) => write!(f, "{seconds} s"),
            (seconds, rest) if seconds < 10 => {
                let decimals = format!("{rest:03}");
                write!(f, "{seconds}.{} s", decimals.trim_end_matches('0'))
            }
            (seconds, rest) => write!(f, "{seconds}.{} s", rest / 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, Time, without_values};
    use redis::{RedisError, Value, parse_redis_value};
    use std::io;
    use std::time::Duration;

    fn server_error(line: &str) -> RedisError {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).and_then(Value::extract_error).unwrap_err()
    }

    #[test]
    fn the_systems_reasons_have_words_and_no_numbers() {
        for (number, words) in [
            (111, "connection refused"),
            (104, "connection reset"),
            (32, "connection closed"),
            (11, "no answer in time"),
            (110, "no answer in time"),
            (113, "host unreachable"),
            (24, "too many open files"),
        ] {
            if cfg!(target_os = "linux") {
                let error = RedisError::from(io::Error::from_raw_os_error(number));
                assert_eq!(Reason(&error).to_string(), words, "{number}");
            }
        }
        let lookup = "failed to lookup address information: Name or service not known";
        assert_eq!(Reason(&io::Error::other(lookup).into()).to_string(), "host name not found");
        let lookup = "failed to lookup address information: Temporary failure in name resolution";
        assert_eq!(Reason(&io::Error::other(lookup).into()).to_string(), "the host name could not be looked up");
    }

    #[test]
    fn the_servers_words_are_kept_and_arguments_are_not_repeated() {
        let refused = server_error("WRONGPASS invalid username-password pair or user is disabled.");
        assert_eq!(Reason(&refused).to_string(), "WRONGPASS invalid username-password pair or user is disabled");
        for line in [
            "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `s3cret`, ",
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 's3cret' ",
        ] {
            let error = server_error(line);
            assert!(!Reason(&error).to_string().contains("s3cret"));
            let error = without_values(error);
            assert_eq!(error.kind(), redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError));
            assert!(!format!("{error:?}{error}{:?}", error.detail()).contains("s3cret"), "{error}");
        }
        let error: RedisError = (redis::ErrorKind::InvalidClientConfig, "this is a Sentinel").into();
        assert_eq!(Reason(&error).to_string(), "this is a Sentinel");
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (micros, text) in [
            (1, "1 ms"),
            (199_870, "200 ms"),
            (1_000_000, "1 s"),
            (1_500_000, "1.5 s"),
            (1_234_000, "1.234 s"),
            (61_500_000, "61.5 s"),
        ] {
            assert_eq!(Time(Duration::from_micros(micros)).to_string(), text);
        }
    }
}
