//! What zero points add to the sums of an int8 product.

use super::bytes::{Role, line_sums, line_sums_scratch};
use super::int8::PackedInt8;
use super::panel::PanelSource;

/// The operands of a product as their zero points see them.
pub(crate) struct Folding<'a> {
    /// The signed operand.
    pub(crate) weights: &'a PackedInt8,
    /// The activations.
    pub(crate) source: &'a dyn PanelSource<i32>,
    /// Its lines.
    pub(crate) lines: usize,
    /// Words of a line.
    pub(crate) groups: usize,
    /// Bytes of a word.
    pub(crate) k_group: usize,
    /// What the activations are in it.
    pub(crate) role: Role,
}

/// Summands of the sums: see [`super::Int8Finish`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Folded<'s> {
    pub(crate) offsets: &'s [i32],
    pub(crate) unsigned_sums: &'s [i32],
}

impl Folding<'_> {
    fn is_symmetric(&self) -> bool {
        self.weights.zero_points().is_empty()
    }

    /// Words of scratch memory that [`Folding::fold`] takes.
    pub(crate) fn words(&self) -> usize {
        let sums = match self.is_symmetric() {
            true => 0,
            false => self.lines + line_sums_scratch(self.groups),
        };
        self.weights.lines() + sums
    }

    /// Computes the summands for activations of zero point `zero_point` (after its shift) into `words`.
    pub(crate) fn fold<'w>(
        &self,
        zero_point: i32,
        bias: &[i32],
        words: &'w mut [i32],
    ) -> Folded<'w> {
        let (offsets, rest) = words.split_at_mut(self.weights.lines());
        self.weights.offsets(zero_point, bias, offsets);
        if self.is_symmetric() {
            return Folded {
                offsets,
                unsigned_sums: &[],
            };
        }
        let (sums, panel) = rest.split_at_mut(self.lines);
        let panel = &mut panel[..line_sums_scratch(self.groups)];
        line_sums(
            self.source,
            self.groups,
            self.role,
            self.k_group,
            panel,
            sums,
        );
        Folded {
            offsets,
            unsigned_sums: sums,
        }
    }
}
