//! Scripts: by their hash, and by their text where a node does not know them.

use std::borrow::Borrow;
use std::time::Instant;

use redis::{
    Arg, Cmd, ConnectionLike, FromRedisValue, RedisError, RedisResult, ScriptInvocation, ServerErrorKind, Value,
};

use crate::client::ReplicatedClient;
use crate::error::{Error, ErrorKind, Result};
use crate::selection::Affinity;

/// Scripts of the redis crate (`redis::Script`).
///
/// Errors: see [`query`](ReplicatedClient::query). The error of a script that has written may say that a part of it was applied.
impl ReplicatedClient {
    /// Runs a script on the master: by its hash (`EVALSHA`), and by its text where the master does not know it (`EVAL`).
    ///
    /// ```no_run
    /// use redis_replicated::redis::Script;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    /// let stock: i64 = client.eval(script.key("stock").arg(5))?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// The script and its arguments are passed as for `ScriptInvocation::invoke`; a script without any is
    /// `script.prepare_invoke()`.
    pub fn eval<'s, T: FromRedisValue>(&self, script: impl Borrow<ScriptInvocation<'s>>) -> Result<T> {
        self.run_script(script.borrow(), ["EVALSHA", "EVAL"])
    }

    /// Runs a script that only reads, on a replica: by its hash (`EVALSHA_RO`), and by its text on the same node if that does not
    /// know it (`EVAL_RO`). Since Redis 7.0.
    ///
    /// ```no_run
    /// use redis_replicated::redis::Script;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let script = Script::new("return redis.call('STRLEN', KEYS[1]) + redis.call('STRLEN', KEYS[2])");
    /// let length: usize = client.eval_ro(script.key("first").key("last"))?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// Servers do not replicate scripts, so each node gets the text once. The server refuses a script that writes
    /// ([`ErrorKind::Server`]).
    pub fn eval_ro<'s, T: FromRedisValue>(&self, script: impl Borrow<ScriptInvocation<'s>>) -> Result<T> {
        self.run_script(script.borrow(), ["EVALSHA_RO", "EVAL_RO"])
    }

    /// Runs a script by its hash, and by its text on a node that does not know it.
    fn run_script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>, [hash, text]: [&str; 2]) -> Result<T> {
        let began = Instant::now();
        let mut sent = Recorder::default();
        // The redis crate shows what a script sends in this way alone. The recorder refuses it, and that is no failure.
        _ = script.invoke::<Value>(&mut sent);
        let Some(by_hash) = sent.command.take() else { return Err(unreadable()) };
        match self.query_with(&renamed(&by_hash, hash, None), Affinity::Any, true) {
            Err(error) if is_unknown(&error) => {
                _ = script.load(&mut sent);
                // `SCRIPT LOAD text`
                let loads = sent.command.take().ok_or_else(unreadable)?;
                let Some(Arg::Simple(code)) = loads.args_iter().nth(2) else { return Err(unreadable()) };
                let by_text = renamed(&by_hash, text, Some(code));
                let rest = self.deadline(self.options.call.since(began).deadline);
                rest.query_with(&by_text, error.node().map_or(Affinity::Any, Affinity::First), false)
            }
            done => done,
        }
    }
}

/// Returns the command with another name, and with the text of the script in the place of its hash.
fn renamed(by_hash: &Cmd, name: &str, code: Option<&[u8]>) -> Cmd {
    let mut cmd = redis::cmd(name);
    for (place, word) in by_hash.args_iter().enumerate().skip(1) {
        match (place, code, word) {
            (1, Some(code), _) => cmd.arg(code),
            (_, _, Arg::Simple(word)) => cmd.arg(word),
            _ => &mut cmd,
        };
    }
    cmd
}

/// Returns whether the node does not know the script, which was not executed therefore. A script can return the same code; the
/// words of the server show the difference.
fn is_unknown(error: &Error) -> bool {
    let no_script = redis::ErrorKind::Server(ServerErrorKind::NoScript);
    error.kind() == ErrorKind::Server
        && !error.may_have_executed()
        && error.as_redis().map(RedisError::kind) == Some(no_script)
}

fn unreadable() -> Error {
    Error::refused("a script of the redis crate that sends no command")
}

/// A connection that keeps the command in place of sending it.
#[derive(Default)]
struct Recorder {
    command: Option<Cmd>,
}

impl Recorder {
    fn refuse<T>() -> RedisResult<T> {
        Err((redis::ErrorKind::Client, "the command was recorded").into())
    }
}

impl ConnectionLike for Recorder {
    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        self.command = Some(cmd.clone());
        Self::refuse()
    }

    fn req_packed_command(&mut self, _: &[u8]) -> RedisResult<Value> {
        Self::refuse()
    }

    fn req_packed_commands(&mut self, _: &[u8], _: usize, _: usize) -> RedisResult<Vec<Value>> {
        Self::refuse()
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }
}
