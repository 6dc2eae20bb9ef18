//! [`Model`] → protobuf, in pieces.
//!
//! The framing is written here and the data of the main graph's initializers stays where it is,
//! so that saving needs no second copy of the weights. What was kept of a message when it was
//! read is merged into the one that is written.

mod external;
mod graph;
mod node;
mod tensor;

use std::io::{self, Write};

use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{DecodeError, Message};

pub(super) use external::DataFile;
pub(super) use tensor::tensor;

use super::error::SaveError;
use crate::graph::Graph;
use crate::model::{Function, Model, OpsetImports};
use crate::proto::{FunctionProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// Field numbers of `onnx.proto` that are framed by hand.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const TENSOR_RAW_DATA: u32 = 9;

/// A message in pieces that are written one after the other.
#[derive(Debug, Default)]
pub(super) struct Pieces<'a> {
    pieces: Vec<Piece<'a>>,
    len: u64,
}

#[derive(Debug)]
enum Piece<'a> {
    Owned(Vec<u8>),
    Borrowed(&'a [u8]),
}

impl<'a> Pieces<'a> {
    /// The length of the whole message in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Owned(bytes) => writer.write_all(bytes),
            Piece::Borrowed(bytes) => writer.write_all(bytes),
        })
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.len += bytes.len() as u64;
        self.pieces.push(Piece::Owned(bytes));
    }

    fn push_borrowed(&mut self, bytes: &'a [u8]) {
        self.len += bytes.len() as u64;
        self.pieces.push(Piece::Borrowed(bytes));
    }

    /// Key and length of field `number`, then `content`.
    fn push_field(&mut self, number: u32, content: Pieces<'a>) {
        self.push(field_head(number, content.len));
        self.len += content.len;
        self.pieces.extend(content.pieces);
    }
}

fn field_head(number: u32, len: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(16);
    encode_key(number, WireType::LengthDelimited, &mut head);
    encode_varint(len, &mut head);
    head
}

/// The pieces of a model whose initializers lie in `data_file` where there is one.
pub(super) fn model<'a>(
    model: &'a Model,
    data_file: Option<&DataFile<'a>>,
) -> Result<Pieces<'a>, SaveError> {
    let mut head: ModelProto = decode_preserved(&model.preserved, || "the model".to_owned())?;
    head.ir_version = Some(model.ir_version);
    head.opset_import = opsets(&model.opsets, &head.opset_import);
    head.producer_name = text(&model.producer_name);
    head.producer_version = text(&model.producer_version);
    head.domain = text(&model.domain);
    head.model_version = (model.model_version != 0).then_some(model.model_version);
    head.doc_string = text(&model.doc);
    head.metadata_props = metadata(&model.metadata, &head.metadata_props);
    head.functions = model
        .functions
        .iter()
        .map(function)
        .collect::<Result<_, _>>()?;

    let mut pieces = Pieces::default();
    pieces.push(head.encode_to_vec());
    pieces.push_field(MODEL_GRAPH, graph::pieces(&model.graph, data_file)?);
    Ok(pieces)
}

fn function(function: &Function) -> Result<FunctionProto, SaveError> {
    let what = || format!("function `{}`", function.name);
    let mut proto: FunctionProto = decode_preserved(&function.preserved, what)?;
    graph::fill_function(&function.body, &mut proto)?;
    let kept = std::mem::take(&mut proto.attribute_proto);
    let defaults = function
        .defaults
        .iter()
        .map(|(name, value)| (name.as_str(), value));
    proto.attribute_proto = node::attributes(defaults, kept)?;
    proto.name = text(&function.name);
    proto.domain = text(&function.domain);
    proto.overload = text(&function.overload);
    proto.attribute = function.attributes.clone();
    proto.opset_import = opsets(&function.opsets, &proto.opset_import);
    Ok(proto)
}

/// The imports, with what was kept of them.
fn opsets(imports: &OpsetImports, kept: &[OperatorSetIdProto]) -> Vec<OperatorSetIdProto> {
    let is_same =
        |found: &str, domain: &str| found == domain || domain.is_empty() && found == "ai.onnx";
    let import = |(domain, version): (&str, i64)| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
        unknown: kept
            .iter()
            .find(|kept| is_same(kept.domain(), domain))
            .and_then(|kept| kept.unknown.clone()),
    };
    imports.iter().map(import).collect()
}

/// What was kept of a message, to be filled in.
fn decode_preserved<M: Message + Default>(
    preserved: &bytes::Bytes,
    what: impl FnOnce() -> String,
) -> Result<M, SaveError> {
    let damaged = |source: DecodeError| SaveError::Preserved {
        what: what(),
        source,
    };
    M::decode(preserved.clone()).map_err(damaged)
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The entries, with what was kept of them.
fn metadata(
    entries: &[(String, String)],
    kept: &[StringStringEntryProto],
) -> Vec<StringStringEntryProto> {
    let unknown = |key: &str| kept.iter().find(|kept| kept.key() == key)?.unknown.clone();
    let entry = |(key, value): &(String, String)| StringStringEntryProto {
        unknown: unknown(key),
        ..entry(key, value.clone())
    };
    entries.iter().map(entry).collect()
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
        unknown: None,
    }
}

/// For `map_err` on what orders a graph.
fn in_graph(graph: &Graph) -> impl FnOnce(crate::graph::GraphError) -> SaveError {
    let graph = graph.name.clone();
    move |source| SaveError::Graph { graph, source }
}
