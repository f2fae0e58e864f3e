//! A node in a configuration.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// A node: its address alone, or with what else is known of it.
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
        // An endpoint shows its address only.
        fmt::Debug::fmt(&self.endpoint(), f)
    }
}
