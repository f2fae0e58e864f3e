//! How a request is sent so that its reply proves something, and how the reply is unwrapped.

use std::time::Duration;

use redis::{ServerError, Value};

use crate::classification::{Block, Replies, Request};
use crate::consistency::Evidence;
use crate::routing::{Refusal, Reply};

pub(super) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// A request with questions around it, in one piece: sent by one write, on one connection.
#[derive(Debug)]
pub(super) struct Envelope {
    bytes: Vec<u8>,
    form: Form,
    /// The longest wait for replicas to confirm a write.
    wait: Option<Duration>,
}

/// Where the server is asked how far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Not at all.
    Bare,
    /// `MULTI`, `INFO`, the read, `EXEC`: value and account are of the same moment.
    Within,
    /// `INFO`, the reads, `INFO`: in a transaction they would hold up the server, and one bad command would spoil all.
    Around,
    /// The request, `INFO`: a write is contained in what comes after it.
    Behind,
}

/// What a server says of itself beside its reply; an error, if it does not.
pub(super) type Account = Result<Evidence, Silent>;

/// The server does not say how far it is.
#[derive(Debug, Default)]
pub(super) struct Silent {
    /// Its own words, if it refused.
    pub(super) refusal: Option<ServerError>,
}

/// A reply, unwrapped.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) reply: Reply,
    /// The server's account before the reply, or of the same moment. `None`: it was not asked, or nothing was executed.
    pub(super) before: Option<Account>,
    pub(super) after: Option<Account>,
    /// How many replicas confirmed it.
    pub(super) confirmed: Option<Confirmed>,
    /// The transaction around the read was refused, and the read with it.
    pub(super) is_spoiled: bool,
}

/// How many replicas confirmed a write; an error, if the server refused to wait for them.
pub(super) type Confirmed = Result<u32, ServerError>;

impl Envelope {
    /// `replicas`: so many are to confirm the write, within that time.
    pub(super) fn seal(request: &Request<'_>, form: Form, replicas: Option<(u32, Duration)>) -> Self {
        let mut bytes = Vec::with_capacity(request.bytes.len() + 2 * INFO.len() + MULTI.len() + EXEC.len() + 48);
        let (before, after): (&[&[u8]], &[&[u8]]) = match form {
            Form::Bare => (&[], &[]),
            Form::Within => (&[MULTI, INFO], &[EXEC]),
            Form::Around => (&[INFO], &[INFO]),
            // Before any WAIT: after it, the offset would contain what others wrote meanwhile.
            Form::Behind => (&[], &[INFO]),
        };
        before.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.extend_from_slice(request.bytes);
        after.iter().for_each(|part| bytes.extend_from_slice(part));
        if let Some((count, limit)) = replicas {
            append_wait(&mut bytes, count, limit);
        }
        Self { bytes, form, wait: replicas.map(|(_, limit)| limit) }
    }

    /// Returns the form without a transaction, if this one has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>) -> Option<Self> {
        (self.form == Form::Within).then(|| Self::seal(request, Form::Around, None))
    }

    /// The request as it is sent.
    pub(super) fn sealed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let questions = match self.form {
            Form::Bare => 0,
            Form::Behind => 1,
            Form::Around => 2,
            Form::Within => 3,
        };
        let kept = request.reply_count() + questions + usize::from(self.wait.is_some());
        let block = self.wait.map_or(Block::No, Block::bounded);
        request.within(&self.bytes, kept, block)
    }

    /// Takes the replies to the questions out.
    pub(super) fn open(&self, request: &Request<'_>, reply: Reply) -> Opened {
        let mut values = match reply {
            Reply::One(value) => vec![value],
            Reply::Many { kept, .. } => kept,
        };
        let confirmed = if self.wait.is_some() { values.pop().map(count_of) } else { None };
        let (mut before, mut after) = (None, None);
        match self.form {
            Form::Bare => {}
            Form::Behind => after = values.pop().map(account),
            Form::Around => {
                after = values.pop().map(account);
                before = if values.is_empty() { None } else { Some(account(values.remove(0))) };
            }
            Form::Within => {
                let is_spoiled = refuses_transaction(&values);
                let (value, before) = unfold(values);
                return Opened { reply: Reply::One(value), before, after, confirmed, is_spoiled };
            }
        }
        Opened { reply: fold(request, values), before, after, confirmed, is_spoiled: false }
    }
}

/// Has the server wait until so many replicas have what was written on this connection.
pub(super) fn append_wait(bytes: &mut Vec<u8>, replicas: u32, limit: Duration) {
    let millis = match Block::bounded(limit) {
        Block::For(limit) => (limit.as_micros().div_ceil(1000)).max(1),
        // That is how a server says it.
        Block::Forever | Block::No => 0,
    };
    redis::cmd("WAIT").arg(replicas).arg(millis.to_string()).write_packed_command(bytes);
}

/// Makes of the replies to a request what it would have got without an envelope.
pub(super) fn fold(request: &Request<'_>, mut values: Vec<Value>) -> Reply {
    match request.replies {
        Replies::One => Reply::One(values.pop().unwrap_or(Value::Nil)),
        Replies::Many { skipped: 0, .. } => Reply::Many { kept: values, not_queued: Vec::new() },
        Replies::Many { skipped, .. } => {
            let kept = values.split_off(skipped.min(values.len()));
            let refused = |(position, value)| match value {
                Value::ServerError(error) => Some((position, error)),
                _ => None,
            };
            Reply::Many { kept, not_queued: values.into_iter().enumerate().filter_map(refused).collect() }
        }
    }
}

/// Returns whether a read was refused only because a transaction was put around it: the user, or a proxy, knows no `MULTI`
/// or `EXEC`, or there is no memory left, without which a server queues nothing.
pub(super) fn refuses_transaction(values: &[Value]) -> bool {
    let refusal = |value: Option<&Value>| match value {
        Some(Value::ServerError(error)) => Some(error.clone()),
        _ => None,
    };
    let read = values.len().checked_sub(2).and_then(|read| refusal(values.get(read)));
    let is = |value: Option<&Value>, what| refusal(value).is_some_and(|error| Refusal::of(&error) == Some(what));
    match refusal(values.first()) {
        // Unless whatever is asked is refused, as by one that loads.
        Some(multi) => read != Some(multi),
        // The transaction stays open.
        None => {
            is(values.last(), Refusal::NoRights) || values.iter().any(|value| is(Some(value), Refusal::OutOfMemory))
        }
    }
}

/// Takes value and account out of the replies to `MULTI`, `INFO`, the read and `EXEC`. The read's own error is its reply, as
/// if there had been no transaction around it.
fn unfold(values: Vec<Value>) -> (Value, Option<Account>) {
    let mut values = values.into_iter();
    let mut next = || values.next().unwrap_or(Value::Nil);
    let (multi, info, read, exec) = (next(), next(), next(), next());
    match (multi, info, read, exec) {
        // It refuses whatever it is asked, as one that loads does.
        (Value::ServerError(refusal), _, Value::ServerError(error), _) if refusal == error => {
            (Value::ServerError(error), None)
        }
        // No transaction: the read was executed on its own, at another moment than INFO.
        (Value::ServerError(refusal), ..) => silent_or_out(refusal),
        // Not queued: the transaction was not executed.
        (_, _, Value::ServerError(error), _) => (Value::ServerError(error), None),
        (_, Value::ServerError(refusal), ..) => silent_or_out(refusal),
        (_, _, _, Value::Array(mut both)) if both.len() == 2 => {
            let value = both.pop().unwrap_or(Value::Nil);
            (value, both.pop().map(account))
        }
        (_, _, _, Value::ServerError(refusal)) => silent_or_out(refusal),
        _ => (Value::Nil, Some(Err(Silent::default()))),
    }
}

/// A node that is not ready refuses the questions as well; one that only refuses the questions is silent.
fn silent_or_out(refusal: ServerError) -> (Value, Option<Account>) {
    if Refusal::of(&refusal).is_some_and(Refusal::is_not_serving) {
        return (Value::ServerError(refusal), None);
    }
    (Value::Nil, Some(Err(Silent { refusal: Some(refusal) })))
}

fn account(reply: Value) -> Account {
    let told = match &reply {
        Value::BulkString(bytes) => Evidence::of_info(bytes),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Evidence::of_info(text.as_bytes()),
        _ => None,
    };
    told.ok_or_else(|| Silent { refusal: if let Value::ServerError(error) = reply { Some(error) } else { None } })
}

/// Reads how many replicas confirmed.
pub(super) fn count_of(reply: Value) -> Confirmed {
    match reply {
        Value::Int(count) => Ok(u32::try_from(count).unwrap_or(0)),
        Value::ServerError(refusal) => Err(refusal),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::{EXEC, Envelope, Form, INFO, MULTI, Opened, Silent};
    use crate::classification::{Block, Classifier, Replies, Request};
    use crate::consistency::Evidence;
    use crate::routing::Reply;
    use redis::{Cmd, Pipeline, Value, parse_redis_value};
    use std::time::Duration;

    const AT_70: &str = "role:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:70\r\n\
        slave_read_only:1\r\nmaster_replid:0101010101010101010101010101010101010101\r\n\
        master_replid2:0000000000000000000000000000000000000000\r\nsecond_repl_offset:-1\r\n";
    const NOPERM: &str = "-NOPERM no permissions to run the 'info' command\r\n";
    const ABORT: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
    const WAIT: Option<(u32, Duration)> = Some((2, Duration::from_millis(1500)));

    fn told(offset: u32) -> String {
        let text = AT_70.replace("70", &offset.to_string());
        format!("${}\r\n{text}\r\n", text.len())
    }

    /// Seals a request, and opens what the server answers to it.
    fn exchange(request: &Request<'_>, form: Form, replicas: Option<(u32, Duration)>, answers: &[&str]) -> Opened {
        let kept = answers.iter().map(|answer| parse_redis_value(answer.as_bytes()).unwrap()).collect();
        Envelope::seal(request, form, replicas).open(request, Reply::Many { kept, not_queued: Vec::new() })
    }

    fn command(cmd: &Cmd, form: Form, replicas: Option<(u32, Duration)>, answers: &[&str]) -> Opened {
        let packed = cmd.get_packed_command();
        exchange(&Request::command(&packed, &Classifier::new()).unwrap(), form, replicas, answers)
    }

    fn pipeline(pipe: &Pipeline, form: Form, replicas: Option<(u32, Duration)>, answers: &[&str]) -> Opened {
        let packed = pipe.get_packed_pipeline();
        let (skipped, kept) = if pipe.is_transaction() { (pipe.len() + 1, 1) } else { (0, pipe.len()) };
        exchange(&Request::pipeline(&packed, skipped, kept, &Classifier::new()).unwrap(), form, replicas, answers)
    }

    fn read(answers: &[&str]) -> Opened {
        command(&Cmd::get("k"), Form::Within, None, answers)
    }

    /// The only value, or the error's code.
    fn one(opened: &Opened) -> String {
        match &opened.reply {
            Reply::One(value) => shown(value),
            Reply::Many { .. } => panic!("{opened:?}"),
        }
    }

    fn shown(value: &Value) -> String {
        match value {
            Value::ServerError(error) => error.code().to_owned(),
            Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        }
    }

    fn offset(account: Option<&super::Account>) -> Option<u64> {
        account?.as_ref().ok().map(|evidence: &Evidence| evidence.position.offset)
    }

    /// What a server said in place of its account.
    fn refusal(opened: &Opened) -> Option<&str> {
        match &opened.before {
            Some(Err(Silent { refusal })) => Some(refusal.as_ref().map_or("", |error| error.code())),
            _ => None,
        }
    }

    #[test]
    fn a_request_is_sealed_in_one_piece() {
        let packed = Cmd::set("k", "v").get_packed_command();
        let request = Request::command(&packed, &Classifier::new()).unwrap();
        let wait = b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1500\r\n";
        let forms: [(Form, &[&[u8]], usize); 4] = [
            (Form::Bare, &[&packed], 1),
            (Form::Within, &[MULTI, INFO, &packed, EXEC], 4),
            (Form::Around, &[INFO, &packed, INFO], 3),
            (Form::Behind, &[&packed, INFO], 2),
        ];
        for (form, parts, kept) in forms {
            let envelope = Envelope::seal(&request, form, None);
            let sealed = envelope.sealed(&request);
            assert_eq!(sealed.bytes, parts.concat(), "{form:?}");
            assert_eq!((sealed.replies, sealed.block), (Replies::Many { skipped: 0, kept }, Block::No));
            let envelope = Envelope::seal(&request, form, WAIT);
            let sealed = envelope.sealed(&request);
            assert_eq!(sealed.bytes, [&parts.concat()[..], wait].concat(), "{form:?}");
            assert_eq!(sealed.replies, Replies::Many { skipped: 0, kept: kept + 1 });
            assert_eq!(sealed.block, Block::For(Duration::from_millis(1500)));
        }
    }

    #[test]
    fn a_read_comes_with_the_account_of_its_moment_in_both_protocols() {
        let both = format!("*2\r\n{}$1\r\nv\r\n", told(70));
        let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &both]);
        assert_eq!((one(&opened), offset(opened.before.as_ref())), ("v".to_owned(), Some(70)));
        let verbatim = format!("*2\r\n={}\r\ntxt:{AT_70}\r\n$1\r\nv\r\n", AT_70.len() + 4);
        let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &verbatim]);
        assert_eq!((one(&opened), offset(opened.before.as_ref())), ("v".to_owned(), Some(70)));
    }

    #[test]
    fn the_error_of_a_read_is_its_reply() {
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &format!("*2\r\n{}{wrong}", told(70))]);
        assert_eq!((one(&opened), offset(opened.before.as_ref())), ("WRONGTYPE".to_owned(), Some(70)));
        let arity = "-ERR wrong number of arguments for 'get' command\r\n";
        for error in [arity, LOADING, "-MASTERDOWN Link with MASTER is down\r\n", "-NOPERM no\r\n"] {
            let opened = read(&["+OK\r\n", "+QUEUED\r\n", error, ABORT]);
            assert!(opened.before.is_none() && error.starts_with(&format!("-{} ", one(&opened))), "{error}");
        }
        let opened = read(&["+OK\r\n", NOPERM, arity, ABORT]);
        assert_eq!((one(&opened), opened.before.is_none()), ("ERR".to_owned(), true));
    }

    #[test]
    fn a_server_that_does_not_say_how_far_it_is_proves_nothing() {
        let inner = format!("*2\r\n{NOPERM}$1\r\nv\r\n");
        let no_multi = "-ERR unknown command 'MULTI'\r\n";
        let no_exec = "-ERR EXEC without MULTI\r\n";
        let info = told(70);
        for (answers, says) in [
            (["+OK\r\n", NOPERM, "+QUEUED\r\n", ABORT], "NOPERM"),
            (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", &inner], "NOPERM"),
            (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", ABORT], "EXECABORT"),
            (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n$2\r\nhi\r\n$1\r\nv\r\n"], ""),
            (["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*-1\r\n"], ""),
            // Without a transaction, they were executed one by one.
            ([no_multi, &info, "$1\r\nv\r\n", no_exec], "ERR"),
            ([no_multi, &info, "-WRONGTYPE x\r\n", no_exec], "ERR"),
        ] {
            assert_eq!(refusal(&read(&answers)), Some(says), "{answers:?}");
        }
    }

    #[test]
    fn a_transaction_that_is_refused_spoils_the_read() {
        let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
        let (info, no_exec) = (told(70), "-ERR EXEC without MULTI\r\n");
        for answers in [
            ["+OK\r\n", oom, oom, ABORT],
            ["-ERR unknown command 'MULTI'\r\n", &info, "$1\r\nv\r\n", "-ERR unknown command 'EXEC'\r\n"],
            ["-NOPERM no permissions to run the 'multi' command\r\n", &info, "-WRONGTYPE x\r\n", no_exec],
            ["-NOPERM app has no ACL permissions\r\n", &info, "$1\r\nv\r\n", "-NOPERM app has no ACL permissions\r\n"],
            ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "-NOPERM no permissions to run the 'exec' command\r\n"],
        ] {
            assert!(read(&answers).is_spoiled, "{answers:?}");
        }
        for answers in [
            [LOADING; 4],
            ["+OK\r\n", NOPERM, "+QUEUED\r\n", ABORT],
            ["+OK\r\n", "+QUEUED\r\n", "-ERR arity\r\n", ABORT],
        ] {
            assert!(!read(&answers).is_spoiled, "{answers:?}");
        }
    }

    #[test]
    fn a_server_that_refuses_everything_is_not_merely_silent() {
        for error in [LOADING, "-NOAUTH Authentication required.\r\n", "-BUSY Redis is busy running a script.\r\n"] {
            let opened = read(&[error; 4]);
            assert!(opened.before.is_none() && error.starts_with(&format!("-{} ", one(&opened))), "{error}");
        }
        let abort = "-EXECABORT Transaction discarded because of: READONLY You can't write.\r\n";
        let opened = read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", abort]);
        assert_eq!((one(&opened), opened.before.is_none()), ("EXECABORT".to_owned(), true));
    }

    #[test]
    fn a_pipeline_of_reads_stands_between_two_accounts() {
        let reads = redis::pipe().get("a").get("b").to_owned();
        let opened = pipeline(&reads, Form::Around, None, &[&told(70), "$1\r\nv\r\n", "-WRONGTYPE x\r\n", &told(75)]);
        let Reply::Many { kept, not_queued } = &opened.reply else { panic!("{opened:?}") };
        assert_eq!(kept.iter().map(shown).collect::<Vec<_>>(), ["v", "WRONGTYPE"]);
        assert!(not_queued.is_empty());
        assert_eq!((offset(opened.before.as_ref()), offset(opened.after.as_ref())), (Some(70), Some(75)));
        let opened = command(&Cmd::get("k"), Form::Around, None, &[&told(70), "$1\r\nv\r\n", NOPERM]);
        assert_eq!((one(&opened), offset(opened.before.as_ref())), ("v".to_owned(), Some(70)));
        assert!(matches!(&opened.after, Some(Err(Silent { refusal: Some(_) }))));
    }

    #[test]
    fn a_write_comes_with_the_account_after_it_and_who_confirmed() {
        let set = Cmd::set("k", "v");
        let opened = command(&set, Form::Behind, WAIT, &["+OK\r\n", &told(70), ":2\r\n"]);
        assert_eq!((one(&opened), offset(opened.after.as_ref())), ("ok".to_owned(), Some(70)));
        assert_eq!((opened.before.is_none(), opened.confirmed), (true, Some(Ok(2))));
        let opened =
            command(&set, Form::Bare, WAIT, &["-OOM x\r\n", "-ERR WAIT cannot be used with replica instances\r\n"]);
        assert_eq!((one(&opened), opened.after.is_none()), ("OOM".to_owned(), true));
        assert!(matches!(opened.confirmed, Some(Err(_))));
        assert_eq!(command(&set, Form::Bare, WAIT, &["+OK\r\n", ":-1\r\n"]).confirmed, Some(Ok(0)));
    }

    #[test]
    fn a_transaction_keeps_what_was_not_queued() {
        let transaction = redis::pipe().atomic().set("a", 1).incr("b", 1).to_owned();
        let done = "*2\r\n+OK\r\n:1\r\n";
        let answers = ["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", done, &told(70), ":1\r\n"];
        let opened = pipeline(&transaction, Form::Behind, WAIT, &answers);
        let Reply::Many { kept, not_queued } = &opened.reply else { panic!("{opened:?}") };
        assert_eq!(kept[..], [Value::Array(vec![Value::Okay, Value::Int(1)])]);
        assert!(not_queued.is_empty());
        assert_eq!((offset(opened.after.as_ref()), opened.confirmed), (Some(70), Some(Ok(1))));
        let answers = ["+OK\r\n", "+QUEUED\r\n", "-OOM x\r\n", ABORT, &told(70)];
        let opened = pipeline(&transaction, Form::Behind, None, &answers);
        let Reply::Many { kept, not_queued } = &opened.reply else { panic!("{opened:?}") };
        assert_eq!(kept.iter().map(shown).collect::<Vec<_>>(), ["EXECABORT"]);
        assert_eq!(not_queued.iter().map(|(at, error)| (*at, error.code())).collect::<Vec<_>>(), [(2, "OOM")]);
    }

    #[test]
    fn missing_values_prove_nothing_and_harm_nobody() {
        let writes = redis::pipe().atomic().set("a", 1).to_owned();
        for form in [Form::Bare, Form::Within, Form::Around, Form::Behind] {
            let opened = command(&Cmd::get("k"), form, WAIT, &[]);
            assert_eq!((one(&opened), offset(opened.before.as_ref())), ("nil".to_owned(), None));
            assert_eq!((offset(opened.after.as_ref()), opened.confirmed), (None, None));
            if form != Form::Within {
                let opened = pipeline(&writes, form, None, &["+OK\r\n"]);
                assert!(matches!(&opened.reply, Reply::Many { kept, .. } if kept.is_empty()), "{opened:?}");
            }
        }
        assert_eq!(refusal(&read(&["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"])), Some(""));
    }
}
