//! Errors of the redis crate as errors of this one.

use redis::RedisError;

use super::{Error, ErrorKind, io_error, words_of};

/// Returns the error of this crate inside it, if there is one ([`Error::of`]).
///
/// Otherwise its kind is [`ErrorKind::Conversion`] if a reply had another type than requested, else [`ErrorKind::Server`]. Then
/// it names no node, and whether the command was a write is not known. So [`Error::may_have_executed`] is `true` for an error of
/// the system, for a failed conversion, and for the error of a script or a pipeline, a part of which may have been applied.
///
/// ```no_run
/// use redis::Commands;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// fn rename(client: &redis_replicated::ReplicatedClient) -> redis_replicated::Result<()> {
///     Ok(client.connection().rename("draft", "article")?)
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        if let Some(ours) = Self::of(&error) {
            return ours.clone();
        }
        match error.kind() {
            redis::ErrorKind::UnexpectedReturnType | redis::ErrorKind::Parse => {
                Self::conversion("a reply is not of the type that was requested".to_owned()).executed(true)
            }
            _ => {
                let may_have_executed = io_error(&error).is_some() || may_be_partial(&error);
                Self::new(ErrorKind::Server, words_of(&error)).executed(may_have_executed).caused_by(error)
            }
        }
    }
}

/// Returns whether an error of a server is that of a script or a pipeline, as far as its text shows it.
fn may_be_partial(error: &RedisError) -> bool {
    let text = error.to_string();
    text.starts_with("Pipeline failure") || text.contains("script: ") || text.contains("Error running script")
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind};
    use redis::RedisError;
    use std::io;

    #[test]
    fn an_error_of_this_crate_comes_back_as_it_was() {
        let node = "127.0.0.1:6379".parse().unwrap();
        let error = Error::new(ErrorKind::Interrupted, "no complete reply to SET").on(&node).executed(true);
        let text = error.to_string();
        let back = Error::from(RedisError::from(error));
        assert_eq!((back.kind(), back.node(), back.may_have_executed()), (ErrorKind::Interrupted, Some(&node), true));
        assert_eq!(back.to_string(), text);
        let refused = Error::from(RedisError::from(Error::refused("no")));
        assert_eq!((refused.kind(), refused.may_have_executed()), (ErrorKind::Refused, false));
    }

    #[test]
    fn other_errors_say_whether_the_command_may_have_been_executed() {
        let server = redis::make_extension_error("WRONGTYPE".into(), Some("not a list".into()));
        let error = Error::from(server.clone());
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false));
        assert_eq!(error.as_redis(), Some(&server));
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
        let inside = redis::make_extension_error("WRONGTYPE".into(), Some("x script: 00, on @user_script:1.".into()));
        assert!(Error::from(inside).may_have_executed());
        let lost = Error::from(RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset)));
        assert_eq!((lost.kind(), lost.may_have_executed()), (ErrorKind::Server, true));
        assert!(!lost.to_string().contains("os error"), "{lost}");
    }

    #[test]
    fn a_conversion_stays_one_and_shows_no_value() {
        let wrong = redis::from_redis_value::<i64>(redis::Value::SimpleString("secret".into())).unwrap_err();
        for redis in [RedisError::from(wrong), Error::conversion("is no i64".to_owned()).into()] {
            let error = Error::from(redis);
            assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Conversion, true));
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
