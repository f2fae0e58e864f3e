//! Values as JSON texts (feature `json`).

use redis::{Cmd, ToSingleRedisArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
        let text = serde_json::to_vec(value)
            // The error of serde may contain the value.
            .map_err(|_| Error::new(ErrorKind::Conversion, "the value has no JSON form"))?;
        self.query(&Cmd::set(key, text))
    }
}
