//! How a set is found, in a configuration; and how its nodes are logged in at.

use std::fmt;

use redis::RedisConnectionInfo;
use serde::{Deserialize, Serialize};

use super::endpoint::EndpointData;

/// A service, and the Sentinels that know it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentinelData {
    pub(super) service: String,
    pub(super) nodes: Vec<EndpointData>,
}

/// How to log in at nodes that are found.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default)]
    database: u32,
}

/// How many fallback reads there may be at once.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a number, or \"off\"")]
pub(super) enum FallbackData {
    Reads(u32),
    Word(Off),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Off {
    Off,
}

impl LoginData {
    pub(super) fn info(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(i64::from(self.database));
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        info
    }
}

impl FallbackData {
    /// Returns the limit; `None` for no limit.
    pub(super) fn reads(self) -> Option<u32> {
        match self {
            Self::Reads(limit) => Some(limit),
            Self::Word(Off::Off) => None,
        }
    }
}

impl fmt::Debug for LoginData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing secret.
        let mut out = f.debug_struct("LoginData");
        out.field("username", &self.username).field("database", &self.database).finish_non_exhaustive()
    }
}
