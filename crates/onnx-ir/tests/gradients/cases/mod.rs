//! The cases, by family.

mod convolution;
mod elementwise;
mod layout;
mod linear;
mod normalization;
mod recurrent;
mod reduction;
mod transformer;

use crate::harness::Case;

pub(crate) fn all() -> Vec<Case> {
    [
        elementwise::cases(),
        convolution::cases(),
        layout::cases(),
        linear::cases(),
        normalization::cases(),
        recurrent::cases(),
        reduction::cases(),
        transformer::cases(),
    ]
    .concat()
}
