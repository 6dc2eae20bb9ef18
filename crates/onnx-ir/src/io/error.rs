//! What can go wrong while a model is read or written.

use std::io;
use std::path::PathBuf;

use compress_tensor::{DType, TensorError};

use crate::graph::GraphError;
use crate::proto::DecodeError;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be opened or mapped.
    #[error("cannot read {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The bytes are not the protobuf message that was expected.
    #[error("not an ONNX file, or cut short: {0}")]
    Decode(DecodeError),
    /// The file is of another format.
    #[error("this is {format}, not an ONNX file")]
    OtherFormat {
        /// The format, with its article.
        format: &'static str,
    },
    /// The messages nest deeper than protobuf allows, as those of many nested subgraphs do.
    #[error("messages nest deeper than {MAX_NESTING}: too many subgraphs within one another")]
    TooDeep,
    /// There is no graph in the model.
    #[error("the model holds no graph: it is empty or not an ONNX model")]
    NoGraph,
    /// One domain is imported in two versions.
    #[error("opset domain `{domain}` is imported at version {first} and again at {second}")]
    TwoOpsets {
        /// The domain; empty for `ai.onnx`.
        domain: String,
        /// The first version.
        first: i64,
        /// The second version.
        second: i64,
    },
    /// A tensor's data is not what its type and shape say.
    #[error("{owner}: {source}")]
    Tensor {
        /// Whose tensor it is.
        owner: TensorOwner,
        /// What is wrong with it.
        source: TensorDataError,
    },
    /// Two initializers have the same name.
    #[error("initializer `{name}` is there twice")]
    DuplicateInitializer {
        /// The name.
        name: String,
    },
    /// An initializer has no name.
    #[error("an initializer of graph `{graph}` has no name")]
    UnnamedInitializer {
        /// The graph.
        graph: String,
    },
    /// An attribute is there twice in one node.
    #[error("node `{node}`: attribute `{attribute}` is there twice")]
    DuplicateAttribute {
        /// The node.
        node: String,
        /// The attribute.
        attribute: String,
    },
    /// An attribute has no value of its declared type.
    #[error(
        "node `{node}`: attribute `{attribute}` has type code {code} and no value of that type"
    )]
    NoAttributeValue {
        /// The node.
        node: String,
        /// The attribute.
        attribute: String,
        /// The declared `AttributeProto.AttributeType`.
        code: i32,
    },
    /// An attribute holds a value of another type than it declares, or values of several.
    #[error(
        "node `{node}`: attribute `{attribute}` has type code {code} and a value of type {found}"
    )]
    OtherAttributeValue {
        /// The node.
        node: String,
        /// The attribute.
        attribute: String,
        /// The declared `AttributeProto.AttributeType`; 0 where there is none.
        code: i32,
        /// The type of the value that does not belong.
        found: &'static str,
    },
    /// A value file of a kind that no value can hold.
    #[error("maps and sparse tensors cannot be read as values")]
    ValueKind,
    /// The graph's edges contradict one another.
    #[error("graph `{graph}`: {source}")]
    Graph {
        /// The graph.
        graph: String,
        /// What is wrong with it.
        source: GraphError,
    },
}

/// How deep protobuf messages may nest; a subgraph takes three levels.
const MAX_NESTING: usize = 100;

impl From<DecodeError> for LoadError {
    fn from(error: DecodeError) -> Self {
        // The decoder keeps the kind of its errors to itself; their text ends in the cause.
        let is_too_deep = error.to_string().ends_with("recursion limit reached");
        if is_too_deep {
            Self::TooDeep
        } else {
            Self::Decode(error)
        }
    }
}

/// Whose tensor a [`LoadError::Tensor`] speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorOwner {
    /// An initializer, by its name.
    Initializer(String),
    /// An attribute of a node.
    Attribute {
        /// The node.
        node: String,
        /// The attribute.
        attribute: String,
    },
    /// A file that holds nothing but a tensor, or a sequence or optional of them; the tensor's name.
    Data(String),
}

impl std::fmt::Display for TensorOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Initializer(name) => write!(f, "initializer `{name}`"),
            Self::Attribute { node, attribute } => {
                write!(f, "node `{node}`: tensor of attribute `{attribute}`")
            }
            Self::Data(name) => write!(f, "tensor `{name}`"),
        }
    }
}

/// Why a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorDataError {
    /// The element type is undefined or unknown.
    #[error("element type code {code} is undefined or unknown")]
    ElementType {
        /// The `TensorProto.DataType` code.
        code: i32,
    },
    /// A dimension is negative.
    #[error("shape {dims:?} has a negative dimension")]
    NegativeDimension {
        /// The declared shape.
        dims: Vec<i64>,
    },
    /// The data has another length than the shape asks for, or the shape is too large.
    #[error(transparent)]
    Shape(#[from] TensorError),
    /// An element does not fit its type.
    #[error("element {index} is {value}, which is no {dtype}")]
    OutOfRange {
        /// The element's position.
        index: usize,
        /// What stands there.
        value: i64,
        /// The declared element type.
        dtype: DType,
    },
    /// Data stands in two fields, and it cannot be told which counts.
    #[error("there is data in `{first}` and in `{second}`")]
    TwoDataFields {
        /// One field.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A string is not UTF-8.
    #[error("string {index} is not UTF-8")]
    NotUtf8 {
        /// The element's position.
        index: usize,
    },
    /// The tensor is stored in segments.
    #[error("tensors in segments are not supported")]
    Segmented,
    /// Strings are stored in a form that only numbers can have.
    #[error("strings stand in raw or external data")]
    StringsAsBytes,
    /// A sparse tensor lacks its values or its indices.
    #[error("a sparse tensor without values or indices")]
    IncompleteSparse,
    /// The external data cannot be reached.
    #[error("external data: {0}")]
    External(#[from] ExternalDataError),
}

/// Why external data cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalDataError {
    /// There is no location.
    #[error("no location is given")]
    NoLocation,
    /// The model came from memory, so that there is no folder to look in.
    #[error("`{location}` cannot be looked for: the model was read from memory, without a folder")]
    NoFolder {
        /// The location as the model gives it.
        location: String,
    },
    /// The location leads out of the model's folder.
    #[error("`{location}` leads out of the model's folder (absolute, `..` or a link)")]
    OutsideFolder {
        /// The location as the model gives it.
        location: String,
    },
    /// The file could not be opened or mapped.
    #[error("cannot read `{location}`: {source}")]
    File {
        /// The location as the model gives it.
        location: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// An offset or a length is not a number.
    #[error("{key} is `{value}`, which is no byte count")]
    NotANumber {
        /// `offset` or `length`.
        key: &'static str,
        /// What stands there.
        value: String,
    },
    /// The length is not the tensor's.
    #[error("length is {found} bytes, shape and type take {expected}")]
    WrongLength {
        /// What shape and type take.
        expected: usize,
        /// What the model says.
        found: u64,
    },
    /// The data would end behind the end of the file.
    #[error(
        "{length} bytes at offset {offset} do not lie within the {file_length} bytes of `{location}`"
    )]
    OutOfBounds {
        /// The location as the model gives it.
        location: String,
        /// The offset.
        offset: u64,
        /// The length.
        length: usize,
        /// The file's length.
        file_length: usize,
    },
}

/// Why a model could not be saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// A file could not be written.
    #[error("cannot write {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A graph has no order.
    #[error("graph `{graph}`: {source}")]
    Graph {
        /// The graph.
        graph: String,
        /// What is wrong with it.
        source: GraphError,
    },
    /// Protobuf holds no more than 2 GiB in one message.
    #[error(
        "the model takes {bytes} bytes, one file holds at most {limit}: store the initializers as external data"
    )]
    TooLarge {
        /// The encoded size.
        bytes: u64,
        /// The largest size of one file.
        limit: u64,
    },
    /// The name of the data file is not a plain file name.
    #[error("`{file}` is no plain file name for external data")]
    DataFileName {
        /// The name as it was given.
        file: String,
    },
    /// A tensor has an element type that ONNX does not have.
    #[error("tensor `{tensor}` has element type {dtype}, which ONNX does not have")]
    ElementType {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: DType,
    },
    /// Bytes kept for saving are not the message that they were.
    #[error("the preserved part of {what} is damaged: {source}")]
    Preserved {
        /// `the model`, `graph g`, `node n`.
        what: String,
        /// Where decoding failed.
        source: DecodeError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Message, ModelProto};
    use bytes::Bytes;

    #[test]
    fn what_nests_too_deep_is_told_from_what_is_cut_short() {
        // A graph of 127 bytes, of which one is there.
        let bytes = vec![0x3a, 0x7f, 0x0a];
        let cut_short = ModelProto::decode(Bytes::from(bytes)).expect_err("no such length");
        assert!(matches!(LoadError::from(cut_short), LoadError::Decode(_)));

        let mut graph = Vec::new();
        for _ in 0..50 {
            for field in [6, 5, 1] {
                let mut outer = Vec::new();
                prost::encoding::encode_key(
                    field,
                    prost::encoding::WireType::LengthDelimited,
                    &mut outer,
                );
                prost::encoding::encode_varint(graph.len() as u64, &mut outer);
                outer.append(&mut graph);
                graph = outer;
            }
        }
        let deep = crate::proto::GraphProto::decode(Bytes::from(graph)).expect_err("150 levels");
        assert!(matches!(LoadError::from(deep), LoadError::TooDeep));
    }
}
