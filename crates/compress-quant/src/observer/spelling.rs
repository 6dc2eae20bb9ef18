//! How a [`Method`] is written in files: a word, or a table for the one that takes a number.

use super::Method;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

const PERCENTILE: &str = "percentile";

/// Each method once.
const METHODS: [Method; 5] = [
    Method::MinMax,
    Method::MovingAverage,
    Method::Percentile(Method::DEFAULT_PERCENTILE),
    Method::Entropy,
    Method::Mse,
];

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Method::Percentile(percent) => {
                let mut table = to.serialize_map(Some(1))?;
                table.serialize_entry(self.name(), percent)?;
                table.end()
            }
            word => to.serialize_str(word.name()),
        }
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Spelling)
    }
}

struct Spelling;

impl<'de> Visitor<'de> for Spelling {
    type Value = Method;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a method, as \"mse\" or { percentile = 99.9 }")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Method, E> {
        let mut methods = METHODS.iter().copied();
        let found = methods.find(|method| method.name() == word);
        found.ok_or_else(|| {
            let words: Vec<&str> = METHODS.iter().map(|method| method.name()).collect();
            E::custom(format!(
                "unknown method `{word}`, expected one of {}",
                words.join(", ")
            ))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Method, A::Error> {
        let (key, percent): (String, f64) = table
            .next_entry()?
            .ok_or_else(|| A::Error::missing_field(PERCENTILE))?;
        match table.next_key::<String>()? {
            None if key == PERCENTILE => Ok(Method::Percentile(percent)),
            None => Err(A::Error::unknown_field(&key, &[PERCENTILE])),
            Some(more) => Err(A::Error::unknown_field(&more, &[PERCENTILE])),
        }
    }
}
