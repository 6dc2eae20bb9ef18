//! Saving a model: [`Model::save`], [`Model::to_bytes`].

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use compress_tensor::write_atomically;

use super::error::SaveError;
use super::write::{self, DataFile, Pieces};
use crate::model::Model;

/// Protobuf holds no more than this in one message.
const LARGEST_MESSAGE: u64 = i32::MAX as u64;

/// How a model is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Whether initializers go into a file of their own.
    pub external_data: ExternalData,
}

impl SaveOptions {
    /// Options with this choice for external data.
    pub fn with_external_data(external_data: ExternalData) -> Self {
        Self { external_data }
    }
}

/// Whether initializers go into a file of their own beside the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExternalData {
    /// Everything in one file; an error for a model above 2 GiB.
    Never,
    /// In one file up to 2 GiB, above that as `Always` with its defaults.
    #[default]
    Auto,
    /// The initializers of the main graph that are large enough go into the data file.
    Always {
        /// The data file's name; by default the model's with `.data` behind it.
        file: Option<String>,
        /// The least size in bytes of an initializer that goes there.
        threshold: usize,
    },
}

/// The threshold that [`ExternalData::Auto`] uses, in bytes.
pub const DEFAULT_EXTERNAL_THRESHOLD: usize = 1024;

impl Model {
    /// Writes the model, and its data file where there is one.
    ///
    /// Nodes are written in topological order. Both files are written in full under temporary
    /// names beside their places before either takes its place, so that a failed run leaves what
    /// stood there. The initializers' data is streamed, not copied.
    ///
    /// # Errors
    /// [`SaveError`]: the file system's, a cyclic graph, a model that is too large for one file.
    pub fn save(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<(), SaveError> {
        self.save_within(path.as_ref(), options, LARGEST_MESSAGE)
    }

    /// The model as the bytes of one file, without external data.
    ///
    /// # Errors
    /// [`SaveError`]: a cyclic graph, a model that is too large for one file.
    pub fn to_bytes(&self) -> Result<Bytes, SaveError> {
        let pieces = write::model(self, None)?;
        check_size(&pieces, LARGEST_MESSAGE)?;
        let mut bytes = Vec::with_capacity(usize::try_from(pieces.len()).unwrap_or(0));
        pieces
            .write_to(&mut bytes)
            .map_err(file_error(Path::new("")))?;
        Ok(Bytes::from(bytes))
    }

    fn save_within(&self, path: &Path, options: &SaveOptions, limit: u64) -> Result<(), SaveError> {
        let (file, threshold) = match &options.external_data {
            ExternalData::Never => return save_alone(path, &write::model(self, None)?, limit),
            ExternalData::Auto => {
                let pieces = write::model(self, None)?;
                if pieces.len() <= limit {
                    return save_alone(path, &pieces, limit);
                }
                (None, DEFAULT_EXTERNAL_THRESHOLD)
            }
            ExternalData::Always { file, threshold } => (file.clone(), *threshold),
        };
        let file = file.unwrap_or_else(|| default_data_file(path));
        let data_path = sibling(path, &file)?;
        let data_file = DataFile::plan(&self.graph, file, threshold);
        let pieces = write::model(self, Some(&data_file))?;
        if data_file.is_empty() {
            return save_alone(path, &pieces, limit);
        }
        check_size(&pieces, limit)?;
        let saved = write_atomically(&data_path, |data| {
            data_file.write_to(data)?;
            data.flush()?;
            save_alone(path, &pieces, limit).map_err(PairError::Model)
        });
        saved.map_err(|error| match error {
            PairError::Data(source) => SaveError::File {
                path: data_path,
                source,
            },
            PairError::Model(error) => error,
        })
    }
}

/// Which file of the pair could not be written.
enum PairError {
    Data(io::Error),
    Model(SaveError),
}

impl From<io::Error> for PairError {
    fn from(error: io::Error) -> Self {
        Self::Data(error)
    }
}

fn save_alone(path: &Path, pieces: &Pieces<'_>, limit: u64) -> Result<(), SaveError> {
    check_size(pieces, limit)?;
    write_atomically(path, |file| pieces.write_to(file)).map_err(file_error(path))
}

fn check_size(pieces: &Pieces<'_>, limit: u64) -> Result<(), SaveError> {
    let bytes = pieces.len();
    if bytes > limit {
        Err(SaveError::TooLarge { bytes, limit })
    } else {
        Ok(())
    }
}

fn default_data_file(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.data")
}

/// The path of `file` beside `path`.
fn sibling(path: &Path, file: &str) -> Result<PathBuf, SaveError> {
    let is_plain = Path::new(file).file_name() == Some(file.as_ref());
    let sibling = path.with_file_name(file);
    if is_plain && sibling != path {
        Ok(sibling)
    } else {
        Err(SaveError::DataFileName {
            file: file.to_owned(),
        })
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> SaveError {
    let path = path.to_path_buf();
    move |source| SaveError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use compress_tensor::Tensor;

    /// 8 KiB of initializers in four tensors.
    fn model() -> Model {
        let mut graph = Graph::new("weights");
        for i in 0..4 {
            let data: Vec<f32> = (0..512).map(|n| (n * i) as f32).collect();
            graph
                .add_initializer(&format!("w{i}"), Tensor::vector(data))
                .expect("a fresh name");
        }
        Model::new(graph, 17)
    }

    #[test]
    fn a_model_above_the_limit_gets_a_data_file_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.onnx");
        model()
            .save_within(&path, &SaveOptions::default(), 4096)
            .expect("saved");
        let data = folder.path().join("m.onnx.data");
        assert_eq!(std::fs::metadata(data).expect("a data file").len(), 8192);
        let loaded = Model::load(&path).expect("loads");
        assert_eq!(
            loaded.to_bytes().expect("encodes"),
            model().to_bytes().expect("encodes")
        );
    }

    #[test]
    fn one_file_above_the_limit_is_refused_with_its_size() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.onnx");
        let options = SaveOptions::with_external_data(ExternalData::Never);
        let error = model()
            .save_within(&path, &options, 4096)
            .expect_err("too large");
        assert!(
            matches!(
                error,
                SaveError::TooLarge {
                    bytes: 8193..,
                    limit: 4096
                }
            ),
            "{error}"
        );
        assert!(!path.exists());
    }
}
