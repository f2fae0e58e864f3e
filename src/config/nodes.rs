//! The nodes in a configuration: their addresses, how they are found, their login and their certificates.

use std::fmt;
use std::path::PathBuf;

use redis::RedisConnectionInfo;
use serde::{Deserialize, Serialize};

use crate::builder::TlsFiles;
use crate::endpoint::Endpoint;

/// A node: its address alone, or a table.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected an address, or a table of url, weight and zone")]
pub(super) enum EndpointData {
    Url(String),
    Table(EndpointTable),
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointTable {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

impl EndpointData {
    pub(super) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Url(url) => Endpoint::from(url),
            Self::Table(EndpointTable { url, weight, zone }) => {
                let endpoint = Endpoint::from(url).weight(weight.unwrap_or(1));
                match zone {
                    Some(zone) => endpoint.zone(zone),
                    None => endpoint,
                }
            }
        }
    }
}

impl fmt::Debug for EndpointData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The `Debug` of an endpoint shows no password.
        fmt::Debug::fmt(&self.endpoint(), f)
    }
}

/// A service, and the Sentinels that watch it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentinelData {
    pub(super) service: String,
    pub(super) nodes: Vec<EndpointData>,
}

/// The login at found nodes.
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

impl fmt::Debug for LoginData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        let mut out = f.debug_struct("LoginData");
        out.field("username", &self.username).field("database", &self.database).finish_non_exhaustive()
    }
}

/// Files with certificates and keys in PEM form. `build` reads them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
}

impl TlsData {
    pub(super) fn files(&self) -> TlsFiles {
        TlsFiles { ca: self.ca_file.clone(), cert: self.cert_file.clone(), key: self.key_file.clone() }
    }
}
