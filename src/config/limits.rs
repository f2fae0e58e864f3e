//! Limits in a configuration: times such as `"250ms"`, and `"off"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A time, or `"off"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOrOff(pub(super) Option<Duration>);

/// How many fallback reads may run at once.
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

impl FallbackData {
    /// Returns the limit; `None` for no limit.
    pub(super) fn reads(self) -> Option<u32> {
        match self {
            Self::Reads(limit) => Some(limit),
            Self::Word(Off::Off) => None,
        }
    }
}

pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&humantime::format_duration(*time)),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let expected = |error| de::Error::custom(format!("{error}: expected a time such as \"250ms\" or \"3s\""));
    humantime::parse_duration(&text).map(Some).map_err(expected)
}

impl Serialize for TimeOrOff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => serializer.collect_str(&humantime::format_duration(time)),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for TimeOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let expected = |error| de::Error::custom(format!("{error}: expected a time such as \"10s\", or \"off\""));
        humantime::parse_duration(&text).map(|time| Self(Some(time))).map_err(expected)
    }
}
