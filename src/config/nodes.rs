//! The nodes in a configuration: their addresses, how they are found, their login and their certificates.

use std::fmt;
use std::path::PathBuf;

use redis::{ProtocolVersion, RedisConnectionInfo, TlsMode};
use serde::{Deserialize, Serialize};

use crate::builder::TlsFiles;
use crate::endpoint::Endpoint;

/// A node: its address alone, or a table.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(untagged, expecting = "expected an address, or a table of url, weight and zone")]
pub(super) enum EndpointData {
    Url(String),
    Table(EndpointTable),
}

#[derive(Clone, Deserialize, PartialEq, Serialize)]
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
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentinelData {
    pub(super) service: String,
    /// The login at the Sentinels whose addresses have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    nodes: Vec<EndpointData>,
}

impl SentinelData {
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.nodes.iter().map(|node| self.logged_in(node.endpoint())).collect()
    }

    fn logged_in(&self, mut endpoint: Endpoint) -> Endpoint {
        endpoint.info = endpoint.info.map(|info| {
            let own = info.redis_settings().clone();
            if own.username().is_some() || own.password().is_some() {
                return info;
            }
            info.set_redis_settings(with_login(own, self.username.as_deref(), self.password.as_deref()))
        });
        endpoint
    }
}

impl fmt::Debug for SentinelData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        let mut out = f.debug_struct("SentinelData");
        out.field("service", &self.service).field("username", &self.username).field("nodes", &self.nodes);
        out.finish_non_exhaustive()
    }
}

/// The login at found nodes.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default)]
    pub(super) database: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol: Option<ProtocolData>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum ProtocolData {
    #[serde(alias = "2")]
    Resp2,
    #[serde(alias = "3")]
    Resp3,
}

impl LoginData {
    pub(super) fn info(&self) -> RedisConnectionInfo {
        let info = RedisConnectionInfo::default().set_db(i64::from(self.database));
        let info = with_login(info, self.username.as_deref(), self.password.as_deref());
        match self.protocol {
            Some(ProtocolData::Resp2) => info.set_protocol(ProtocolVersion::RESP2),
            Some(ProtocolData::Resp3) => info.set_protocol(ProtocolVersion::RESP3),
            None => info,
        }
    }
}

fn with_login(mut info: RedisConnectionInfo, username: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    if let Some(username) = username {
        info = info.set_username(username);
    }
    if let Some(password) = password {
        info = info.set_password(password);
    }
    info
}

impl fmt::Debug for LoginData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        let mut out = f.debug_struct("LoginData");
        out.field("username", &self.username).field("database", &self.database).field("protocol", &self.protocol);
        out.finish_non_exhaustive()
    }
}

/// Files with certificates and keys in PEM form. `build` reads them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    /// Certificates are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    insecure: Option<bool>,
}

impl TlsData {
    pub(super) fn is_insecure(&self) -> bool {
        self.insecure == Some(true)
    }

    pub(super) fn mode(&self) -> TlsMode {
        if self.is_insecure() { TlsMode::Insecure } else { TlsMode::Secure }
    }

    pub(super) fn files(&self) -> TlsFiles {
        TlsFiles { ca: self.ca_file.clone(), cert: self.cert_file.clone(), key: self.key_file.clone() }
    }
}
