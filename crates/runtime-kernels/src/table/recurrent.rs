//! Rows of recurrent layers.

use super::floats;
use crate::recurrent::{
    Cell, Directions, GateBias, PackedGates, RecurrentLayer, RecurrentShape, RecurrentState,
    SequenceLayout,
};
use crate::{Context, KernelError, Scratch, recurrent};

/// 5 sequences of up to 9 steps of 23 features, 37 units, both directions.
pub(super) fn recurrent_of(ctx: &Context, cell: Cell) -> Result<Vec<f32>, KernelError> {
    let shape = RecurrentShape {
        time: 9,
        batch: 5,
        input: 23,
        hidden: 37,
    };
    let (directions, rows) = (2, cell.gates() * shape.hidden);
    let w = floats(directions * rows * shape.input, 12);
    let r = floats(directions * rows * shape.hidden, 13);
    let w = PackedGates::of_input(ctx.isa, cell, [directions, shape.hidden, shape.input], &w)?;
    let r = PackedGates::of_state(ctx.isa, cell, [directions, shape.hidden], &r)?;
    let bias = GateBias::new(cell, [directions, shape.hidden], &floats(4 * rows, 14))?;
    let layer = RecurrentLayer {
        cell,
        directions: Directions::Bidirectional,
        layout: SequenceLayout::BatchFirst,
        clip: None,
        input_weights: &w,
        state_weights: &r,
        bias: Some(&bias),
        peephole: None,
    };
    let states = directions * shape.batch * shape.hidden;
    let (mut h, mut c) = (floats(states, 15), Vec::new());
    if matches!(cell, Cell::Lstm { .. }) {
        c = floats(states, 16);
    }
    let x = floats(shape.time * shape.batch * shape.input, 17);
    let mut y = vec![0.0; shape.time * states];
    recurrent::recurrent(
        ctx,
        &mut Scratch::new(),
        &layer,
        shape,
        (&x, Some(&[9, 1, 0, 5, 8])),
        RecurrentState {
            h: &mut h,
            c: &mut c,
        },
        &mut y,
    )?;
    y.extend(h.into_iter().chain(c));
    Ok(y)
}
