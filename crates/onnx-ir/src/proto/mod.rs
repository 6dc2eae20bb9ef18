//! The wire format: ONNX's protobuf messages as plain structs.
//!
//! The structs are generated from `onnx-ml.proto` and `onnx-data.proto` of the pinned `onnx`
//! package (`cargo xtask proto`); their meaning is documented in
//! <https://onnx.ai/onnx/api/classes.html>. Byte fields are [`bytes::Bytes`], so that decoding
//! out of a memory map leaves the tensors' data where it is. Fields that the definitions do not
//! have are kept in each message's `unknown`.
//!
//! Messages nest at most 100 deep, as in every protobuf implementation: decoding deeper ones
//! ends in an error rather than in an exhausted stack. A subgraph takes three levels.

#[allow(
    missing_docs,
    reason = "generated: the ONNX documentation describes every field"
)]
#[rustfmt::skip]
mod onnx;
pub mod unknown;

pub use onnx::*;
pub use prost::{DecodeError, Message};
pub use unknown::Unknown;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A graph of `levels` nested subgraphs, its wire form written from the inside out.
    fn nested(levels: usize) -> Bytes {
        let mut graph = Vec::new();
        for _ in 0..levels {
            let attribute = field(6, &graph);
            let node = field(5, &attribute);
            graph = field(1, &node);
        }
        Bytes::from(field(7, &graph))
    }

    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
        prost::encoding::encode_varint(content.len() as u64, &mut out);
        out.extend_from_slice(content);
        out
    }

    fn depth(graph: &GraphProto) -> usize {
        let subgraph = graph
            .node
            .first()
            .and_then(|n| n.attribute.first())
            .and_then(|a| a.g.as_ref());
        subgraph.map_or(0, |g| 1 + depth(g))
    }

    #[test]
    fn thirty_nested_subgraphs_decode_and_drop_on_a_small_stack() {
        let run = std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn(|| {
                let model = ModelProto::decode(nested(30)).expect("within the limit");
                model.graph.as_ref().map_or(0, depth)
            });
        assert_eq!(run.expect("thread starts").join().expect("no overflow"), 30);
    }

    #[test]
    fn too_deep_nesting_is_an_error_not_an_overflow() {
        let error = ModelProto::decode(nested(5000)).expect_err("beyond the limit");
        assert!(error.to_string().contains("recursion limit"), "{error}");
    }

    #[test]
    fn raw_data_is_a_window_into_the_decoded_bytes() {
        let model = ModelProto {
            graph: Some(GraphProto {
                initializer: vec![TensorProto {
                    raw_data: Some(Bytes::from(vec![7u8; 4096])),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let file = Bytes::from(model.encode_to_vec());
        let decoded = ModelProto::decode(file.clone()).expect("just encoded");
        let graph = decoded.graph.expect("one graph");
        let data = graph.initializer[0].raw_data.as_ref().expect("raw data");
        let range = file.as_ptr_range();
        assert!(range.contains(&data.as_ptr()), "the data was copied");
    }
}
