//! Random numbers, and what drops elements at random.

mod bernoulli;
mod dropout;
pub mod mersenne_twister;
mod multinomial;
mod random_normal;
mod random_normal_like;
mod random_uniform;
mod random_uniform_like;
pub mod seed;
mod seeded_dropout;

pub use bernoulli::Bernoulli;
pub use dropout::{Dropout, DropoutMode};
pub use multinomial::Multinomial;
pub use random_normal::RandomNormal;
pub use random_normal_like::RandomNormalLike;
pub use random_uniform::RandomUniform;
pub use random_uniform_like::RandomUniformLike;
pub use seeded_dropout::SeededDropout;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Bernoulli>(),
    OpEntry::of::<Dropout>(),
    OpEntry::of::<Multinomial>(),
    OpEntry::of::<RandomNormal>(),
    OpEntry::of::<RandomNormalLike>(),
    OpEntry::of::<RandomUniform>(),
    OpEntry::of::<RandomUniformLike>(),
    OpEntry::of::<SeededDropout>(),
];
