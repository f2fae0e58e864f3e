//! Values as JSON texts (feature `json`).

use std::time::Duration;

use redis::{Cmd, ToSingleRedisArg, cmd};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::millis_of;
use crate::client::ReplicatedClient;
use crate::error::{Error, ErrorKind, Result};

/// Values as JSON texts in strings. They do not use the JSON module of the server. Feature `json`.
impl ReplicatedClient {
    /// Returns the value of a key, parsed as JSON and read from a replica; `None` if there is no such key (`GET`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conversion`] if the text is not a `T` in JSON; otherwise see [`query`](Self::query).
    pub fn get_json<T: DeserializeOwned>(&self, key: impl ToSingleRedisArg) -> Result<Option<T>> {
        let text: Option<Vec<u8>> = self.get(key)?;
        let read = |text: Vec<u8>| serde_json::from_slice(&text);
        text.map(read).transpose().map_err(|error| {
            // The position only: the text may be secret.
            let place = format!("line {} column {}", error.line(), error.column());
            Error::new(ErrorKind::Conversion, format!("the value is not of the type asked for, in JSON: {place}"))
        })
    }

    /// Sets a key to a value, written as JSON (`SET`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conversion`] if the value has no JSON form: nothing was sent. Otherwise see [`query`](Self::query).
    pub fn set_json<T: Serialize + ?Sized>(&self, key: impl ToSingleRedisArg, value: &T) -> Result<()> {
        self.query(Cmd::set(key, json_of(value)?))
    }

    /// Sets a key to a value, written as JSON, that expires after `time` (`SET … PX`). The time is rounded up to a millisecond.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.set_json_ex("basket:17", &["apple", "pear"], Duration::from_secs(1800))?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`set_json`](Self::set_json). The server refuses a time of 0 ([`ErrorKind::Server`]).
    pub fn set_json_ex<T: Serialize + ?Sized>(
        &self,
        key: impl ToSingleRedisArg,
        value: &T,
        time: Duration,
    ) -> Result<()> {
        self.query(cmd("SET").arg(key).arg(json_of(value)?).arg("PX").arg(millis_of(time)))
    }
}

/// Returns the JSON text of a value.
fn json_of<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    // The error of serde may contain the value.
    serde_json::to_vec(value).map_err(|_| Error::new(ErrorKind::Conversion, "the value has no JSON form"))
}
