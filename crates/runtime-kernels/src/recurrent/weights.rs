//! The weights of a recurrent layer in the form that a step reads.

use super::Cell;
use crate::error::{check_extent, check_len, product};
use crate::gemm::{PackedF32, Side};
use crate::{Isa, KernelError, MatRef};

/// `W` or `R` of all directions, packed once for one instruction set.
#[derive(Clone, Debug)]
pub struct PackedGates {
    /// The transposed matrices of each direction: all gates, or those that one product gives.
    directions: Vec<Vec<PackedF32>>,
    rows: usize,
    depth: usize,
}

impl PackedGates {
    /// Packs the input weights `W [D, G H, I]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `w` has another number of elements, [`KernelError::OutOfBounds`] if the padded size
    /// does not fit the address space.
    pub fn of_input(
        isa: Isa,
        cell: Cell,
        [directions, hidden, input]: [usize; 3],
        w: &[f32],
    ) -> Result<Self, KernelError> {
        let rows = rows_of(cell, hidden)?;
        Self::new(isa, "input weights", [directions, rows, input], &[rows], w)
    }

    /// Packs the recurrent weights `R [D, G H, H]`.
    ///
    /// # Errors
    /// As [`PackedGates::of_input`].
    pub fn of_state(
        isa: Isa,
        cell: Cell,
        [directions, hidden]: [usize; 2],
        r: &[f32],
    ) -> Result<Self, KernelError> {
        let rows = rows_of(cell, hidden)?;
        // The third gate of a GRU reads the state after the reset, which needs the first two.
        let split = match cell {
            Cell::Gru { .. } => vec![2 * hidden, hidden],
            Cell::Rnn | Cell::Lstm { .. } => vec![rows],
        };
        let shape = [directions, rows, hidden];
        Self::new(isa, "recurrent weights", shape, &split, r)
    }

    fn new(
        isa: Isa,
        what: &'static str,
        [directions, rows, depth]: [usize; 3],
        split: &[usize],
        data: &[f32],
    ) -> Result<Self, KernelError> {
        check_len(what, data.len(), product(&[directions, rows, depth]))?;
        let mut packed = Vec::with_capacity(directions);
        for d in 0..directions {
            let mut from = d * rows;
            let mut blocks = Vec::with_capacity(split.len());
            for &count in split {
                let block = &data[from * depth..(from + count) * depth];
                let matrix = MatRef::row_major(block, count, depth)?.transposed();
                blocks.push(PackedF32::new(isa, Side::Rhs, matrix)?);
                from += count;
            }
            packed.push(blocks);
        }
        Ok(Self {
            directions: packed,
            rows,
            depth,
        })
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        self.directions.iter().flatten().map(PackedF32::bytes).sum()
    }

    pub(super) fn check(
        &self,
        what: &'static str,
        directions: usize,
        rows: usize,
        depth: usize,
    ) -> Result<(), KernelError> {
        check_extent(what, self.directions.len(), directions)?;
        check_extent(what, self.rows, rows)?;
        check_extent(what, self.depth, depth)
    }

    /// The matrices of one direction, each `depth x gates`.
    pub(super) fn direction(&self, d: usize) -> &[PackedF32] {
        &self.directions[d]
    }
}

fn rows_of(cell: Cell, hidden: usize) -> Result<usize, KernelError> {
    cell.gates()
        .checked_mul(hidden)
        .ok_or(KernelError::OutOfBounds {
            operand: "gates",
            rows: cell.gates(),
            cols: hidden,
            len: usize::MAX,
        })
}

/// The biases of a layer, added up as far as the cell allows.
#[derive(Clone, Debug)]
pub struct GateBias {
    /// `[D, G H]`: added to the products with `W`.
    input: Vec<f32>,
    /// `[D, H]`, or nothing: added to the product with `R` that a reset gate multiplies.
    state: Vec<f32>,
    rows: usize,
}

impl GateBias {
    /// Of `b [D, 2 G H]`: the biases of `W`, then those of `R`.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `b` has another number of elements.
    pub fn new(
        cell: Cell,
        [directions, hidden]: [usize; 2],
        b: &[f32],
    ) -> Result<Self, KernelError> {
        let rows = rows_of(cell, hidden)?;
        check_len("bias", b.len(), product(&[directions, 2, rows]))?;
        let resets_product = cell
            == Cell::Gru {
                linear_before_reset: true,
            };
        let (mut input, mut state) = (Vec::with_capacity(b.len() / 2), Vec::new());
        for b in b.chunks_exact((2 * rows).max(1)) {
            let (of_w, of_r) = b.split_at(rows);
            let kept = if resets_product { 2 * hidden } else { rows };
            let added = of_r[..kept].iter().copied();
            let added = added.chain(std::iter::repeat(0.0));
            input.extend(of_w.iter().zip(added).map(|(w, r)| w + r));
            state.extend_from_slice(&of_r[kept..]);
        }
        Ok(Self { input, state, rows })
    }

    pub(super) fn check(&self, directions: usize, rows: usize) -> Result<(), KernelError> {
        check_extent("rows of the bias", self.rows, rows)?;
        check_len("bias", self.input.len(), product(&[directions, rows]))
    }

    pub(super) fn of_input(&self, d: usize) -> &[f32] {
        &self.input[d * self.rows..(d + 1) * self.rows]
    }

    /// `None` where all of it is in [`GateBias::of_input`].
    pub(super) fn of_state(&self, d: usize, hidden: usize) -> Option<&[f32]> {
        self.state.get(d * hidden..(d + 1) * hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_that_a_reset_gate_multiplies_stays_apart() {
        let b = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        let gru = |linear_before_reset| Cell::Gru {
            linear_before_reset,
        };
        let all = GateBias::new(gru(false), [1, 1], &b).unwrap();
        assert_eq!(all.of_input(0), [11.0, 22.0, 33.0]);
        assert_eq!(all.of_state(0, 1), None);
        let apart = GateBias::new(gru(true), [1, 1], &b).unwrap();
        assert_eq!(apart.of_input(0), [11.0, 22.0, 3.0]);
        assert_eq!(apart.of_state(0, 1), Some(&[30.0][..]));
        assert!(GateBias::new(gru(true), [2, 1], &b).is_err());
    }
}
