//! Removes the arguments that a server's error repeats: values, keys and passwords.

use redis::{ServerError, Value};

use super::arguments::{Frames, TransactionStep};
use super::request::Request;
use crate::error::{server_error_of, without_echo};

/// Replaces an argument that is not shown.
const HIDDEN: &str = "***";

impl Request<'_> {
    /// Hides the arguments that the errors in a reply repeat, also in nested replies of scripts and transactions.
    #[cold]
    pub(crate) fn hide_arguments(&self, reply: &mut Value) {
        match reply {
            Value::ServerError(error) => {
                if let Some(shown) = self.without_arguments(error) {
                    *error = shown;
                }
            }
            Value::Array(items) | Value::Set(items) | Value::Push { data: items, .. } => {
                items.iter_mut().for_each(|item| self.hide_arguments(item));
            }
            Value::Map(fields) => self.hide_in_pairs(fields),
            Value::Attribute { data, attributes } => {
                self.hide_in_pairs(attributes);
                self.hide_arguments(data);
            }
            _ => {}
        }
    }

    fn hide_in_pairs(&self, pairs: &mut [(Value, Value)]) {
        pairs.iter_mut().flat_map(|(name, value)| [name, value]).for_each(|item| self.hide_arguments(item));
    }

    /// Returns the error without the arguments that it repeats; `None` if it repeats none.
    pub(crate) fn without_arguments(&self, error: &ServerError) -> Option<ServerError> {
        let cut = without_echo(error);
        let details = cut.as_ref().unwrap_or(error).details()?;
        // An error about rights has to name the key or the command.
        if !details.contains(['\'', '`', '"']) || error.code() == "NOPERM" {
            return cut;
        }
        // `EXEC` executes commands that were queued before. Their arguments are not known here.
        let mut shown =
            if self.step() == Some(TransactionStep::Exec) { without_quotes(details) } else { details.to_owned() };
        // The second word is a subcommand or a key, which are no secrets.
        for word in Frames::new(self.bytes).flatten().flat_map(|words| words.skip(2)) {
            let Ok(word) = std::str::from_utf8(word) else { continue };
            // Most words are not repeated: nothing is copied for those.
            if !shown.contains(word) {
                continue;
            }
            for quote in ['\'', '`', '"'] {
                let quoted = format!("{quote}{word}{quote}");
                if shown.contains(&quoted) {
                    shown = shown.replace(&quoted, &format!("{quote}{HIDDEN}{quote}"));
                }
            }
        }
        if shown == details { cut } else { server_error_of(error.code(), &shown) }
    }
}

/// Hides the text in single quotes.
fn without_quotes(details: &str) -> String {
    match details.split_once('\'').and_then(|(before, rest)| Some((before, rest.rsplit_once('\'')?.1))) {
        Some((before, after)) => format!("{before}'{HIDDEN}'{after}"),
        None => details.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::classification::{Classifier, Request};
    use redis::{Value, cmd, parse_redis_value};

    fn shown(command: &redis::Cmd, reply: &str) -> String {
        let packed = command.get_packed_command();
        let request = Request::command(&packed, &Classifier::new()).unwrap();
        let mut reply = parse_redis_value(reply.as_bytes()).unwrap();
        request.hide_arguments(&mut reply);
        match reply {
            Value::ServerError(error) => format!("{} {}", error.code(), error.details().unwrap_or_default()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_error_does_not_repeat_arguments() {
        let unknown = cmd("NOSUCH").arg("a").arg("s3cret").to_owned();
        let reply = "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 's3cret' \r\n";
        assert_eq!(shown(&unknown, reply), "ERR unknown command 'NOSUCH'");
        let set = cmd("CONFIG").arg("SET").arg("maxmemory").arg("s3cret").to_owned();
        let reply = "-ERR Invalid argument 's3cret' for CONFIG SET 'maxmemory'\r\n";
        assert_eq!(shown(&set, reply), "ERR Invalid argument '***' for CONFIG SET '***'");
        let script = cmd("EVAL").arg("return {1, redis.call('X', ARGV[1])}").arg(0).arg("s3cret").to_owned();
        let reply = "*2\r\n:1\r\n-ERR no 's3cret' here\r\n";
        assert!(!shown(&script, reply).contains("s3cret"));
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let get = cmd("GET").arg("k").arg("x").to_owned();
        let reply = "-ERR wrong number of arguments for 'get' command\r\n";
        assert_eq!(shown(&get, reply), "ERR wrong number of arguments for 'get' command");
        let set = cmd("SET").arg("k").arg("key").to_owned();
        let reply = "-NOPERM User app has no permissions to access the 'key' key\r\n";
        assert_eq!(shown(&set, reply), "NOPERM User app has no permissions to access the 'key' key");
    }

    #[test]
    fn arguments_are_hidden_wherever_an_error_stands() {
        let packed = cmd("NOSUCH").arg("key").arg("secret").get_packed_command();
        let request = Request::command(&packed, &Classifier::new()).unwrap();
        let error = "!49\r\nERR unknown command 'NOSUCH', with 'key' 'secret'\r\n";
        for reply in [
            format!("*2\r\n:1\r\n{error}"),
            format!("~1\r\n{error}"),
            format!("%1\r\n+a\r\n{error}"),
            format!("%1\r\n{error}+a\r\n"),
        ] {
            let Ok(mut value) = parse_redis_value(reply.as_bytes()) else { panic!("{reply}") };
            assert!(format!("{value:?}").contains("secret"), "{value:?}");
            request.hide_arguments(&mut value);
            assert!(!format!("{value:?}").contains("secret"), "{value:?}");
        }
    }
}
