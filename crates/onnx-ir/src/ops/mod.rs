//! The operators: one file each, by family; each family lists its own in `OPS`.

pub mod accumulate;
pub mod activation;
pub mod axis;
pub mod backward;
pub mod broadcast;
pub mod control_flow;
pub mod convolution;
pub mod cumulative;
pub mod detection;
pub(crate) mod dispatch;
pub mod elementwise;
pub mod fused;
pub mod generate;
pub mod image;
pub mod index;
pub mod lanes;
pub mod layout;
pub mod linear;
pub mod loss;
pub mod ml;
pub mod normalization;
pub mod number;
pub mod partial;
pub mod permute;
pub mod pooling;
pub mod qlinear;
pub mod quantization;
pub mod random;
pub mod recurrent;
pub mod reduction;
pub mod select;
pub mod sequence;
pub mod signal;
pub mod text;
pub mod training;
pub mod transformer;
pub mod window;

use crate::operator::OpEntry;

/// Every operator of the crate.
pub(crate) fn all() -> impl Iterator<Item = OpEntry> {
    [
        activation::OPS,
        backward::OPS,
        control_flow::OPS,
        convolution::OPS,
        cumulative::OPS,
        detection::OPS,
        elementwise::OPS,
        fused::OPS,
        generate::OPS,
        image::OPS,
        index::OPS,
        layout::OPS,
        linear::OPS,
        loss::OPS,
        ml::OPS,
        normalization::OPS,
        pooling::OPS,
        qlinear::OPS,
        quantization::OPS,
        random::OPS,
        recurrent::OPS,
        reduction::OPS,
        sequence::OPS,
        signal::OPS,
        text::OPS,
        training::OPS,
        transformer::OPS,
    ]
    .into_iter()
    .flatten()
    .copied()
}
