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
        let model = decode(bytes, &mut files)?;
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
        decode(bytes, &mut ExternalFiles::new(folder))
    }
}

fn decode(bytes: Bytes, files: &mut ExternalFiles) -> Result<Model, LoadError> {
    let proto = ModelProto::decode(bytes.clone()).map_err(LoadError::from);
    let model = proto.and_then(|proto| read::model(proto, files));
    model.map_err(|error| match other_format(&bytes) {
        Some(format) => LoadError::OtherFormat { format },
        None => error,
    })
}

/// The format of a file that is not ONNX, by the bytes that it begins with.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const FORMATS: [(usize, &[u8], &str); 5] = [
        (4, b"TFL3", "a TensorFlow Lite model"),
        (4, b"ORTM", "an ONNX Runtime model (ORT format)"),
        (
            0,
            b"PK\x03\x04",
            "a zip archive, as PyTorch and Keras save them",
        ),
        (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras saves them"),
        (0, b"GGUF", "a GGUF model"),
    ];
    let starts = |(at, mark, _): &&(usize, &[u8], &str)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(mark))
    };
    FORMATS.iter().find(starts).map(|(.., name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_formats_are_called_by_their_name() {
        for (bytes, name) in [
            (&b"\x1c\0\0\0TFL3\x14\0\x20\0"[..], "TensorFlow Lite"),
            (b"PK\x03\x04\x14\0\0\0", "PyTorch"),
            (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        ] {
            let error = Model::load_bytes(Bytes::from_static(bytes), None).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = Model::load_bytes(Bytes::from_static(b"TFL3"), None).unwrap_err();
        assert!(!matches!(error, LoadError::OtherFormat { .. }), "{error}");
    }
}
