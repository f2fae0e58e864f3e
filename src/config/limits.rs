//! Limits in a configuration: times such as `"250ms"`, and `"off"`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A time, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TimeOrOff(pub(super) Option<Duration>);

/// How many fallback reads may run at once.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged, expecting = "expected a number, or \"off\"")]
pub(super) enum FallbackData {
    Reads(u32),
    Word(Off),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
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
    let Some(TimeText(text)) = Option::deserialize(deserializer)? else { return Ok(None) };
    time(&text, "expected a time such as \"250ms\" or \"3s\"").map(Some)
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
        let TimeText(text) = TimeText::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        time(&text, "expected a time such as \"10s\", or \"off\"").map(|time| Self(Some(time)))
    }
}

/// The text of a time. A number, which has no unit, is refused with the text that was probably meant.
struct TimeText(String);

struct TimeTextVisitor;

impl<'de> Deserialize<'de> for TimeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Some formats do not show a number to those who ask for a text.
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(TimeTextVisitor)
        } else {
            deserializer.deserialize_string(TimeTextVisitor)
        }
    }
}

impl de::Visitor<'_> for TimeTextVisitor {
    type Value = TimeText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as \"250ms\" or \"3s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeText, E> {
        Ok(TimeText(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<TimeText, E> {
        Err(no_unit(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<TimeText, E> {
        Err(no_unit(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<TimeText, E> {
        Err(no_unit(number))
    }
}

fn time<E: de::Error>(text: &str, expected: &str) -> Result<Duration, E> {
    humantime::parse_duration(text).map_err(|error| match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => no_unit(number),
        _ => E::custom(format!("{error}: {expected}")),
    })
}

fn no_unit<E: de::Error>(number: impl fmt::Display) -> E {
    E::custom(format!("a time needs a unit: write \"{number}s\" for seconds, or \"{number}ms\" for milliseconds"))
}
