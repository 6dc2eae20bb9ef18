//! ONNX files: loading and saving.
//!
//! [`Model::load`](crate::Model::load) maps the file and leaves tensor data in the map;
//! [`Model::save`](crate::Model::save) streams it out again. What a file holds and this crate
//! does not understand (operators and domains, functions, metadata, training information,
//! sparse initializers, annotations, device configurations, fields that newer versions of ONNX add
//! to any message) survives load → save.
//!
//! Not kept, as it carries no meaning: the order of fields, the form in
//! which a tensor's data is stored, declared types of initializers, dimensions of size -1. A value that is declared
//! more than once, as input and as output, keeps one documentation.
//!
//! Training information is kept word for word: external data that it refers to stays where it is.
//!
//! The wire format: <https://onnx.ai/onnx/repo-docs/IR.html>.

mod data;
mod element_type;
mod error;
mod external;
mod load;
mod read;
mod save;
mod types;
mod write;

pub use data::{read_tensor, read_value, write_tensor};
pub use element_type::{code_of_dtype, dtype_of_code, name_of_dtype};
pub use error::{ExternalDataError, LoadError, SaveError, TensorDataError, TensorOwner};
pub use save::{DEFAULT_EXTERNAL_THRESHOLD, ExternalData, SaveOptions};
