//! Refusals: why a server did not execute a request, recognised by code, and by text where a server wraps an error in another.
//!
//! This is the only place that reads the texts of servers' errors. The tests hold the wordings of each server.

use redis::ServerError;

use crate::classification::Request;

/// Why a server did not execute a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// A write on a replica.
    ReadOnly,
    Loading,
    /// A replica without a link that does not serve old data.
    MasterDown,
    TryAgain,
    ClusterDown,
    /// A blocked command was ended because the master was demoted.
    Unblocked,
    /// A script has been running for too long.
    Busy,
    TooManyClients,
    /// Too few replicas are attached (`min-replicas-to-write`).
    NoReplicas,
    /// `maxmemory` is reached.
    OutOfMemory,
    /// The data cannot be saved to disk.
    Misconfigured,
    NotLoggedIn,
    /// The server does not know the script or the function. Scripts are not replicated; functions arrive late.
    NoScript,
    /// The user lacks a right on this server.
    NoRights,
}

/// The code of each refusal, and words that only a server uses: a script may return any code.
const WORDINGS: &[(Refusal, &str, &[&str])] = &[
    (Refusal::ReadOnly, "READONLY", &["read only replica", "readonly replica"]),
    (Refusal::Loading, "LOADING", &["is loading the dataset"]),
    (Refusal::MasterDown, "MASTERDOWN", &["Link with MASTER is down"]),
    (Refusal::TryAgain, "TRYAGAIN", &[]),
    (Refusal::ClusterDown, "CLUSTERDOWN", &[]),
    (Refusal::Busy, "BUSY", &["is busy running"]),
    (Refusal::NoReplicas, "NOREPLICAS", &["Not enough good replicas"]),
    (Refusal::OutOfMemory, "OOM", &["command not allowed when used memory", "allow-oom flag is not set"]),
    (Refusal::Misconfigured, "MISCONF", &["is configured to save RDB snapshots", "Errors writing to the AOF file"]),
    (Refusal::NotLoggedIn, "NOAUTH", &["Authentication required"]),
    (Refusal::NoScript, "NOSCRIPT", &["No matching script"]),
    (Refusal::NoRights, "NOPERM", &["permissions"]),
];

/// `ERR Error running script (call to f_<sha>): @user_script:1: @user_script: 1: -READONLY You can't …`
const SCRIPT_FAILED: &str = "Error running script";
/// Redis 6.2 returns an error that a script caught as `@user_script: 1: -READONLY You can't …`
const CAUGHT: &str = "@user_script";
/// `EXECABORT Transaction discarded because of: READONLY You can't …`: demoted between `MULTI` and `EXEC`.
const DISCARDED: &str = "Transaction discarded because of: ";

impl Refusal {
    /// Returns the refusal that an error stands for; `None`: it is an ordinary error reply.
    pub(crate) fn of(error: &ServerError) -> Option<Self> {
        let details = error.details().unwrap_or_default();
        match error.code() {
            "ERR" if details.starts_with("max number of clients") => Some(Self::TooManyClients),
            "ERR" if details.starts_with("Function not found") => Some(Self::NoScript),
            // A client that a demoted master unblocked, not one that `CLIENT UNBLOCK` unblocked.
            "UNBLOCKED" => details.contains("force unblock").then_some(Self::Unblocked),
            // Here the server itself quotes the error, so its code is enough.
            "EXECABORT" => by_code(details.strip_prefix(DISCARDED)?.split(' ').next()?),
            code => by_code(code).or_else(|| wrapped(error)),
        }
    }

    /// Returns the refusal of a script. Only the server's own words count, because a script may return any error.
    pub(crate) fn of_script(error: &ServerError) -> Option<Self> {
        let details = error.details().unwrap_or_default();
        match error.code() {
            "EXECABORT" => quoted(details.strip_prefix(DISCARDED)?),
            code => by_words(code, details).or_else(|| wrapped(error)),
        }
    }

    /// Returns whether the server is not ready, or not the master: nothing was executed, and another server may execute it.
    pub(crate) fn is_not_serving(self) -> bool {
        matches!(
            self,
            Self::ReadOnly | Self::Loading | Self::MasterDown | Self::TryAgain | Self::ClusterDown | Self::Unblocked
        )
    }

    /// Returns whether the server refuses every command in this way, so that it says nothing about this one.
    pub(crate) fn is_general(self) -> bool {
        self.is_not_serving() || self == Self::Busy
    }

    /// Returns the refusal of a request. For a script, only the server's own words count.
    pub(crate) fn of_request(request: &Request<'_>, error: &ServerError) -> Option<Self> {
        if request.runs_script { Self::of_script(error) } else { Self::of(error) }
    }
}

/// Returns whether a script stopped at the command that was refused, on a server that refuses scripts only at their first
/// write: then nothing was executed. A script that caught the error may have continued, and Dragonfly refuses at any write.
pub(crate) fn stopped_script(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    details.contains("(call to f_") || details.contains(" script: ")
}

/// Returns the right that the user lacks, as `ACL SETUSER` takes it, if the server names it.
pub(crate) fn missing_right(error: &ServerError) -> Option<String> {
    let details = error.details().filter(|_| error.code() == "NOPERM")?;
    let (_, command) = details.split_once("to run the '")?;
    let (command, _) = command.split_once('\'')?;
    Some(format!("+{}", command.to_ascii_lowercase()))
}

/// Returns the refusal with this code.
fn by_code(code: &str) -> Option<Refusal> {
    WORDINGS.iter().find(|(_, known, _)| *known == code).map(|(refusal, ..)| *refusal)
}

/// Returns the refusal with this code, if the text has the words of a server.
fn by_words(code: &str, text: &str) -> Option<Refusal> {
    let is_it = |known: &str, words: &[&str]| known == code && words.iter().any(|words| text.contains(words));
    WORDINGS.iter().find(|(_, known, words)| is_it(known, words)).map(|(refusal, ..)| *refusal)
}

/// Reads an error that another one quotes.
fn quoted(text: &str) -> Option<Refusal> {
    let (code, words) = text.split_once(' ')?;
    by_words(code, words)
}

/// Reads the error that Redis 6.2 and Dragonfly wrap when a command inside a script fails.
///
/// Only its origin precedes it. An error that the script itself raised with `error` has no `@` there.
fn wrapped(error: &ServerError) -> Option<Refusal> {
    let details = error.details()?;
    let mut text = if error.code().starts_with(CAUGHT) {
        behind_line(details)?
    } else {
        details.strip_prefix(SCRIPT_FAILED)?.split_once("): ")?.1
    };
    while let Some(line) = text.strip_prefix(CAUGHT).and_then(|text| text.strip_prefix(':')) {
        text = behind_line(line)?;
    }
    quoted(text.strip_prefix('-').unwrap_or(text))
}

/// Returns the text after a line number: `1: …`.
fn behind_line(text: &str) -> Option<&str> {
    let (line, behind) = text.split_once(": ")?;
    line.trim_start().bytes().all(|byte| byte.is_ascii_digit()).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::{Refusal, missing_right, stopped_script};
    use redis::{ServerError, Value, parse_redis_value};

    fn error(line: &str) -> ServerError {
        let Value::ServerError(error) = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap() else {
            panic!("{line}")
        };
        error
    }

    const READONLY: &str = "READONLY You can't write against a read only replica.";
    const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
    const NOREPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";
    const MISCONF: &str =
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.";

    /// What a command gets, and a script that is refused as a whole.
    const PLAIN: &[(&str, Refusal)] = &[
        // All servers.
        (READONLY, Refusal::ReadOnly),
        ("READONLY Can not run script with write flag on readonly replica", Refusal::ReadOnly),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Refusal::MasterDown),
        (OOM, Refusal::OutOfMemory),
        (NOREPLICAS, Refusal::NoReplicas),
        (MISCONF, Refusal::Misconfigured),
        ("MISCONF Errors writing to the AOF file: No space left on device", Refusal::Misconfigured),
        ("NOAUTH Authentication required.", Refusal::NotLoggedIn),
        // Redis.
        ("LOADING Redis is loading the dataset in memory", Refusal::Loading),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", Refusal::Busy),
        ("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.", Refusal::Busy),
        ("BUSY Redis is busy running a module command.", Refusal::Busy),
        ("NOSCRIPT No matching script. Please use EVAL.", Refusal::NoScript),
        ("NOPERM this user has no permissions to run the 'get' command", Refusal::NoRights),
        ("NOPERM User ro has no permissions to run the 'get' command", Refusal::NoRights),
        ("NOPERM this user has no permissions to access one of the keys used as arguments", Refusal::NoRights),
        // Valkey.
        ("LOADING Valkey is loading the dataset in memory", Refusal::Loading),
        ("BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", Refusal::Busy),
        ("MISCONF Valkey is configured to save RDB snapshots, but it's currently unable", Refusal::Misconfigured),
        ("NOSCRIPT No matching script.", Refusal::NoScript),
        ("NOPERM No permissions to access a key", Refusal::NoRights),
        // Dragonfly.
        ("LOADING Dragonfly is loading the dataset in memory", Refusal::Loading),
        ("NOPERM app has no ACL permissions", Refusal::NoRights),
    ];

    #[test]
    fn the_wordings_of_each_server_are_recognised() {
        for (line, refusal) in PLAIN {
            assert_eq!(Refusal::of(&error(line)), Some(*refusal), "{line}");
            assert_eq!(Refusal::of_script(&error(line)), Some(*refusal), "{line}");
        }
        for (line, refusal) in [
            ("TRYAGAIN x", Refusal::TryAgain),
            ("CLUSTERDOWN x", Refusal::ClusterDown),
            ("ERR max number of clients reached", Refusal::TooManyClients),
            ("ERR Function not found", Refusal::NoScript),
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                Refusal::Unblocked,
            ),
        ] {
            assert_eq!(Refusal::of(&error(line)), Some(refusal), "{line}");
            assert_eq!(Refusal::of_script(&error(line)), None, "a script may say so: {line}");
        }
    }

    #[test]
    fn a_refused_script_is_recognised_in_whatever_it_is_wrapped() {
        for (inner, refusal) in [
            (READONLY, Refusal::ReadOnly),
            (OOM, Refusal::OutOfMemory),
            (NOREPLICAS, Refusal::NoReplicas),
            (MISCONF, Refusal::Misconfigured),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL.", Refusal::Busy),
            ("LOADING Dragonfly is loading the dataset in memory", Refusal::Loading),
            ("MASTERDOWN Link with MASTER is down and", Refusal::MasterDown),
        ] {
            let sha = "6b1bf486c81ceb7edf3c093f4c48582e38c0e791";
            for (line, has_stopped) in [
                // Redis 7 and 8, Valkey 8; Valkey 9.
                (format!("{inner} script: {sha}, on @user_script:1."), true),
                (format!("{inner} script: on @user_script:1."), true),
                // Redis 6.2.
                (
                    format!("ERR Error running script (call to f_{sha}): @user_script:1: @user_script: 1: -{inner} "),
                    true,
                ),
                (format!("@user_script: 1: -{inner}"), false),
                // Dragonfly.
                (format!("ERR Error running script (call to {sha}): @user_script:2: -{inner}"), false),
            ] {
                let error = error(&line);
                assert_eq!(Refusal::of_script(&error), Some(refusal), "{line}");
                assert_eq!(Refusal::of(&error), Some(refusal), "{line}");
                assert_eq!(stopped_script(&error), has_stopped, "{line}");
            }
            let aborted = error(&format!("EXECABORT Transaction discarded because of: {inner}"));
            assert_eq!(Refusal::of(&aborted), Some(refusal));
        }
    }

    #[test]
    fn a_script_has_to_use_the_words_of_a_server() {
        for line in [
            "READONLY said the script",
            "ERR Error running script (call to f_00): @user_script:1: user_script:1: READONLY said the script",
            "ERR Error running script (call to f_00): @user_script:1: -READONLY said the script",
            "ERR Error running script (call to f_00): @user_script:1: user_script:1: -READONLY You can't write against a read only replica.",
            "ERR the book is a -READONLY You can't write against a read only replica.",
            "OOM x",
        ] {
            assert_eq!(Refusal::of_script(&error(line)), None, "{line}");
        }
        for line in
            ["ERR x", "WRONGTYPE x", "UNBLOCKED client unblocked via CLIENT UNBLOCK", "EXECABORT x", "BUSYKEY x"]
        {
            assert_eq!(Refusal::of(&error(line)), None, "{line}");
        }
    }

    #[test]
    fn a_missing_right_is_named_as_the_server_takes_it() {
        for (line, right) in [
            ("NOPERM this user has no permissions to run the 'info' command", Some("+info")),
            ("NOPERM User app has no permissions to run the 'client|setname' command", Some("+client|setname")),
            ("NOPERM this user has no permissions to access one of the keys used as arguments", None),
            ("NOPERM app has no ACL permissions", None),
            ("ERR cannot ask to run the 'info' command", None),
        ] {
            assert_eq!(missing_right(&error(line)).as_deref(), right, "{line}");
        }
    }
}
