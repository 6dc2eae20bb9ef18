//! Choices as data: a table with a `kind` and its settings, or the kind alone as text where nothing else is to be said.
//!
//! For fields whose type is an enum with `#[serde(tag = "kind")]`:
//! ```
//! #[derive(Debug, PartialEq, serde::Deserialize)]
//! #[serde(tag = "kind", rename_all = "kebab-case")]
//! enum Shape {
//!     Round,
//!     Square { #[serde(default)] side: f64 },
//! }
//! #[derive(Debug, PartialEq, serde::Deserialize)]
//! struct Piece {
//!     #[serde(deserialize_with = "compress_train::tagged::one")]
//!     shape: Shape,
//!     #[serde(deserialize_with = "compress_train::tagged::all")]
//!     others: Vec<Shape>,
//! }
//! let text = r#"{ "shape": "round", "others": ["square", { "kind": "square", "side": 2.0 }] }"#;
//! let piece: Piece = serde_json::from_str(text)?;
//! assert_eq!(piece.shape, Shape::Round);
//! assert_eq!(piece.others, [Shape::Square { side: 0.0 }, Shape::Square { side: 2.0 }]);
//! # Ok::<(), serde_json::Error>(())
//! ```

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Reads one choice.
///
/// # Errors
/// Those of the deserializer and of the choice.
pub fn one<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Reader(PhantomData))
}

/// Reads a list of choices.
///
/// # Errors
/// As [`one`].
pub fn all<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let all = Vec::<Choice<T>>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|choice| choice.0).collect())
}

struct Choice<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one(deserializer).map(Self)
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a kind as text, or a table with a `kind`")
    }

    fn visit_str<E: Error>(self, kind: &str) -> Result<T, E> {
        T::deserialize(MapDeserializer::new(std::iter::once(("kind", kind))))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
