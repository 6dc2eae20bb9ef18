//! Which array feeds which input.

use super::error::DataError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What feeds one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `.npy` file, or an array of a `.npz` archive: the one of the input's name, or the only one.
    File(PathBuf),
    /// Zeros of the declared type, in the shape that the other inputs determine.
    Zeros,
}

/// An input's name with what feeds it: `NAME=FILE.npy`, `NAME=FILE.npz`, `NAME=zeros`.
///
/// The name may be left out (`FILE.npy`, `zeros`) for a model with one input, and for an archive whose arrays carry the names of the
/// inputs.
///
/// ```
/// use modelpress::data::{InputSpec, Source};
/// let spec: InputSpec = "image=test.npy".parse()?;
/// assert_eq!(spec.name.as_deref(), Some("image"));
/// assert_eq!(spec.source, Source::File("test.npy".into()));
/// # Ok::<(), modelpress::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InputSpec {
    /// The input; `None` where it goes without saying.
    pub name: Option<String>,
    /// What feeds it.
    pub source: Source,
}

impl InputSpec {
    /// The same with a relative file taken from `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        if let Source::File(path) = &mut self.source {
            *path = folder.join(&path);
        }
        self
    }
}

impl FromStr for InputSpec {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let (name, source) = match text.split_once('=') {
            Some((name, source)) => (Some(name), source),
            None => (None, text),
        };
        let is_array = |path: &Path| path.extension().is_some_and(|e| e == "npy" || e == "npz");
        let source = match source {
            "zeros" => Source::Zeros,
            file if is_array(Path::new(file)) => Source::File(file.into()),
            _ => {
                return Err(DataError::Spec {
                    text: text.to_owned(),
                });
            }
        };
        match name {
            Some("") => Err(DataError::Spec {
                text: text.to_owned(),
            }),
            name => Ok(Self {
                name: name.map(str::to_owned),
                source,
            }),
        }
    }
}

impl TryFrom<String> for InputSpec {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<InputSpec> for String {
    fn from(spec: InputSpec) -> String {
        spec.to_string()
    }
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        match &self.source {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Zeros => f.write_str("zeros"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_and_zeros_read_back_as_written() {
        for text in ["x=a/b.npy", "b.npz", "token_type_ids=zeros", "zeros"] {
            let spec: InputSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for text in ["x=a.png", "=zeros", "=a.npy", "x"] {
            let error = text.parse::<InputSpec>().unwrap_err();
            assert!(matches!(error, DataError::Spec { .. }), "{text}");
        }
    }
}
