//! A second in a policy: an RFC 3339 text, or a date and time of TOML.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::graph::statement::{rfc3339, unix};

/// Unix seconds. Text form: RFC 3339 with an offset, such as `2028-01-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.0))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a time such as 2028-01-31T12:00:00Z")]
        enum Either {
            Text(String),
            Native(toml::value::Datetime),
        }
        let text = match Either::deserialize(deserializer)? {
            Either::Text(text) => text,
            Either::Native(time) => time.to_string(),
        };
        unix(&text)
            .map(Time)
            .ok_or_else(|| de::Error::custom("expected a time with seconds and offset, such as 2028-01-31T12:00:00Z"))
    }
}
