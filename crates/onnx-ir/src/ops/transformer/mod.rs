//! Transformers: attention, rotary embeddings and linear attention.

mod attention;
mod attention_backward;
mod flex_attention;
pub mod heads;
mod linear_attention;
mod microsoft_attention;
mod multi_head_attention;
pub mod padded;
mod q_attention;
mod rotary_embedding;
pub mod scaled_dot_product;

pub use attention::{Attention, ScoresOutput};
pub use flex_attention::FlexAttention;
pub use linear_attention::LinearAttention;
pub use microsoft_attention::MicrosoftAttention;
pub use multi_head_attention::MultiHeadAttention;
pub use q_attention::QAttention;
pub use rotary_embedding::{MicrosoftRotaryEmbedding, RotaryEmbedding};

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Attention>(),
    OpEntry::of::<FlexAttention>(),
    OpEntry::of::<LinearAttention>(),
    OpEntry::of::<MicrosoftAttention>(),
    OpEntry::of::<MicrosoftRotaryEmbedding>(),
    OpEntry::of::<MultiHeadAttention>(),
    OpEntry::of::<QAttention>(),
    OpEntry::of::<RotaryEmbedding>(),
];
