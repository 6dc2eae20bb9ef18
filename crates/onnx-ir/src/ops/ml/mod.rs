//! Operators of the `ai.onnx.ml` domain: trees, labels, thresholds.

mod array_feature_extractor;
mod binarizer;
mod label_encoder;
mod tree_ensemble;

pub use array_feature_extractor::ArrayFeatureExtractor;
pub use binarizer::Binarizer;
pub use label_encoder::LabelEncoder;
pub use tree_ensemble::{Aggregate, PostTransform, TreeEnsemble};

use crate::operator::{OpEntry, Signature};

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<ArrayFeatureExtractor>(),
    OpEntry::of::<Binarizer>(),
    OpEntry::of::<LabelEncoder>(),
    OpEntry::of::<TreeEnsemble>(),
];

const fn signature(name: &'static str, versions: &'static [u32]) -> Signature {
    Signature {
        domain: "ai.onnx.ml",
        name,
        versions,
    }
}
