//! Loading a model: [`Model::load`], [`Model::load_bytes`].

use std::path::{Path, PathBuf};

use bytes::Bytes;
use compress_tensor::map_file;

use super::error::LoadError;
use super::external::ExternalFiles;
use super::read;
use crate::model::Model;
use crate::proto::{Message, ModelProto};

impl Model {
    /// Loads the ONNX file at `path`.
    ///
    /// The file is mapped into memory and tensor data stays in the map; external data is looked
    /// for in the model's folder and mapped as well. The file is taken as untrusted: what is
    /// wrong with it ends in an error that names the place, and memory use is bounded by a small
    /// multiple of its size.
    ///
    /// Loading checks what the graph needs to stand: tensors of the length that their shape
    /// says, one writer for each value. The rest is the checker's work.
    ///
    /// # Errors
    /// [`LoadError`], by what is wrong.
    ///
    /// # Examples
    /// ```no_run
    /// let model = onnx_ir::Model::load("model.onnx")?;
    /// println!("{} nodes", model.graph.node_count());
    /// # Ok::<(), onnx_ir::io::LoadError>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Ok(Self::load_with_files(path)?.0)
    }

    /// [`Model::load`], and the files of external data that the model's tensors lie in, as real paths in
    /// alphabetical order: whoever replaces one of them takes the model its weights.
    ///
    /// # Errors
    /// [`LoadError`], by what is wrong.
    pub fn load_with_files(path: impl AsRef<Path>) -> Result<(Self, Vec<PathBuf>), LoadError> {
        let path = path.as_ref();
        let file_error = |source| LoadError::File {
            path: path.to_path_buf(),
            source,
        };
        let bytes = map_file(path).map_err(file_error)?;
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut files = ExternalFiles::new(Some(folder));
        let model = read::model(ModelProto::decode(bytes)?, &mut files)?;
        Ok((model, files.into_paths()))
    }

    /// Loads a model from the bytes of its file; tensor data stays in them.
    ///
    /// External data is looked for in `folder`; without one, a model with external data is an
    /// error.
    ///
    /// # Errors
    /// [`LoadError`], by what is wrong.
    pub fn load_bytes(bytes: Bytes, folder: Option<&Path>) -> Result<Self, LoadError> {
        read::model(ModelProto::decode(bytes)?, &mut ExternalFiles::new(folder))
    }
}
