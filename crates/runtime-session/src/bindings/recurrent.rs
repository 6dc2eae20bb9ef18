//! `LSTM`, `GRU` and `RNN` in f32 with constant weights and the activations that are their defaults.

use super::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::DynOperator;
use onnx_ir::ops::recurrent::{self as ops, Activation, Gru, Layer, Lstm, Rnn};
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::KernelError;
use runtime_kernels::recurrent::{
    Cell, Directions, GateBias, PackedGates, RecurrentLayer, RecurrentShape, RecurrentState,
    SequenceLayout, recurrent,
};
use std::sync::Arc;

/// Where the inputs stand.
const X: usize = 0;
const W: usize = 1;
const R: usize = 2;
const B: usize = 3;
const LENGTHS: usize = 4;
const INITIAL_H: usize = 5;
const INITIAL_C: usize = 6;
const PEEPHOLE: usize = 7;

/// Binds a recurrent layer; `None` where weights vary or activations are others.
///
/// # Errors
/// As [`guarded::bind`]; [`SessionError::Weights`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let scope = selector.scope;
    let Ok(operator) = scope.catalog.parse(node, scope.opsets) else {
        return Ok(None);
    };
    let Some((cell, attributes)) = cell_of(operator.as_ref()) else {
        return Ok(None);
    };
    let Some(weights) = Constants::of(selector, id, cell, attributes) else {
        return Ok(None);
    };
    let kernel = weights.pack(selector, cell, attributes);
    let kernel = kernel.map_err(|error| SessionError::Weights {
        node: selector.graph.describe(id),
        error,
    })?;
    guarded::bind(selector, id, kernel).map(Some)
}

/// The equations of an operator; `None` where its activations are not the defaults.
fn cell_of<'a>(operator: &'a (dyn DynOperator + 'static)) -> Option<(Cell, &'a Layer)> {
    use Activation::{Sigmoid, Tanh};
    let (cell, layer, defaults): (_, _, &[Activation]) =
        if let Some(lstm) = operator.downcast_ref::<Lstm>() {
            let input_forget = lstm.input_forget;
            let cell = Cell::Lstm { input_forget };
            (cell, &lstm.layer, &[Sigmoid, Tanh, Tanh])
        } else if let Some(gru) = operator.downcast_ref::<Gru>() {
            let linear_before_reset = gru.linear_before_reset;
            let cell = Cell::Gru {
                linear_before_reset,
            };
            (cell, &gru.layer, &[Sigmoid, Tanh])
        } else {
            let rnn = operator.downcast_ref::<Rnn>()?;
            (Cell::Rnn, &rnn.layer, &[Tanh])
        };
    let mut directions = layer.activations.chunks_exact(defaults.len());
    directions.all(|a| a == defaults).then_some((cell, layer))
}

/// The weights of a node, all constant.
struct Constants {
    w: (ValueId, Tensor),
    r: (ValueId, Tensor),
    b: Option<Tensor>,
    peephole: Option<Tensor>,
    /// `[D, H, I]`.
    extents: [usize; 3],
}

impl Constants {
    /// `None` where something varies, is not f32 or does not fit.
    fn of(selector: &mut Selector<'_>, id: NodeId, cell: Cell, attributes: &Layer) -> Option<Self> {
        let node = selector.graph.node(id);
        let mut required = |index| {
            let v = node.input(index)?;
            Some((v, selector.constant(v)?))
        };
        let (w, r) = (required(W)?, required(R)?);
        let &[_, rows, input] = w.1.shape() else {
            return None;
        };
        let hidden = *r.1.shape().get(2)?;
        let directions = attributes.directions.count();
        let fits = |tensor: &Tensor, shape: &[usize]| {
            tensor.dtype() == DType::F32 && tensor.shape() == shape
        };
        let named = attributes.hidden_size.is_none_or(|size| size == hidden);
        if !named
            || hidden.checked_mul(cell.gates()) != Some(rows)
            || !fits(&w.1, &[directions, rows, input])
            || !fits(&r.1, &[directions, rows, hidden])
            || w.1.is_empty()
        {
            return None;
        }
        let mut optional = |index: usize, shape: [usize; 2]| match node.input(index) {
            None => Some(None),
            Some(_) => {
                let tensor = selector.constant_input(id, index)?;
                fits(&tensor, &shape).then_some(Some(tensor))
            }
        };
        Some(Self {
            b: optional(B, [directions, 2 * rows])?,
            peephole: match cell {
                Cell::Lstm { .. } => optional(PEEPHOLE, [directions, 3 * hidden])?,
                _ => None,
            },
            extents: [directions, hidden, input],
            w,
            r,
        })
    }

    fn pack(
        self,
        selector: &Selector<'_>,
        cell: Cell,
        attributes: &Layer,
    ) -> Result<Recurrent, KernelError> {
        let (graph, weights, isa) = (selector.graph, selector.scope.weights, selector.isa());
        let [directions, hidden, input] = self.extents;
        // What is packed apart depends on the kind of cell alone.
        let form = |of: &str| format!("recurrent.{of}.{}", cell.gates());
        let (w, r) = (&self.w.1, &self.r.1);
        let input_weights = weights.get(graph, self.w.0, w, &form("w"), || {
            let data = w.data::<f32>().unwrap_or_default();
            PackedGates::of_input(isa, cell, [directions, hidden, input], &data)
        })?;
        let state_weights = weights.get(graph, self.r.0, r, &form("r"), || {
            let data = r.data::<f32>().unwrap_or_default();
            PackedGates::of_state(isa, cell, [directions, hidden], &data)
        })?;
        let bias = self.b.map(|b| {
            let data = b.data::<f32>().unwrap_or_default();
            GateBias::new(cell, [directions, hidden], &data)
        });
        let peephole = self.peephole;
        Ok(Recurrent {
            cell,
            directions: match attributes.directions {
                ops::Directions::Forward => Directions::Forward,
                ops::Directions::Reverse => Directions::Reverse,
                ops::Directions::Bidirectional => Directions::Bidirectional,
            },
            layout: match attributes.layout {
                ops::Layout::TimeFirst => SequenceLayout::TimeFirst,
                ops::Layout::BatchFirst => SequenceLayout::BatchFirst,
            },
            clip: attributes.clip.map(|c| c as f32),
            extents: self.extents,
            input_weights,
            state_weights,
            bias: bias.transpose()?,
            peephole: peephole.map(|p| p.data::<f32>().unwrap_or_default().into_owned()),
        })
    }
}

struct Recurrent {
    cell: Cell,
    directions: Directions,
    layout: SequenceLayout,
    clip: Option<f32>,
    /// `[D, H, I]`.
    extents: [usize; 3],
    input_weights: Arc<PackedGates>,
    state_weights: Arc<PackedGates>,
    bias: Option<GateBias>,
    peephole: Option<Vec<f32>>,
}

impl Recurrent {
    fn is_lstm(&self) -> bool {
        matches!(self.cell, Cell::Lstm { .. })
    }

    /// The extents for an input of this shape; `None` where it does not fit or holds nothing.
    fn shape(&self, x: &[usize]) -> Option<RecurrentShape> {
        let [_, hidden, input] = self.extents;
        let &[first, second, features] = x else {
            return None;
        };
        let (time, batch) = match self.layout {
            SequenceLayout::TimeFirst => (first, second),
            SequenceLayout::BatchFirst => (second, first),
        };
        (time > 0 && batch > 0 && features == input).then_some(RecurrentShape {
            time,
            batch,
            input,
            hidden,
        })
    }

    fn state_shape(&self, shape: RecurrentShape) -> [usize; 3] {
        let directions = self.directions.count();
        match self.layout {
            SequenceLayout::TimeFirst => [directions, shape.batch, shape.hidden],
            SequenceLayout::BatchFirst => [shape.batch, directions, shape.hidden],
        }
    }

    fn result_shape(&self, shape: RecurrentShape) -> [usize; 4] {
        let directions = self.directions.count();
        match self.layout {
            SequenceLayout::TimeFirst => [shape.time, directions, shape.batch, shape.hidden],
            SequenceLayout::BatchFirst => [shape.batch, shape.time, directions, shape.hidden],
        }
    }
}

impl Partial for Recurrent {
    fn kernel(&self) -> &'static str {
        match self.cell {
            Cell::Rnn => "rnn.f32",
            Cell::Gru { .. } => "gru.f32",
            Cell::Lstm { .. } => "lstm.f32",
        }
    }

    /// The weights are packed; only reference evaluation reads them.
    fn reads_misaligned(&self, index: usize) -> bool {
        matches!(index, W | R | B | PEEPHOLE)
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let Some(shape) = inputs.tensor(X).ok().and_then(|x| self.shape(x.shape())) else {
            return false;
        };
        let state_shape = self.state_shape(shape);
        let state = |index| match inputs.optional(index) {
            Ok(None) => true,
            Ok(Some(state)) => is_f32(inputs, index) && state.shape() == state_shape,
            Err(_) => false,
        };
        let fits = |&l: &i32| usize::try_from(l).is_ok_and(|l| l <= shape.time);
        let lengths = match inputs.optional(LENGTHS) {
            Ok(None) => true,
            Ok(Some(lengths)) => lengths
                .data::<i32>()
                .is_ok_and(|l| l.len() == shape.batch && l.iter().all(fits)),
            Err(_) => false,
        };
        is_f32(inputs, X) && lengths && state(INITIAL_H) && (!self.is_lstm() || state(INITIAL_C))
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(X)?;
        let shape = self.shape(x.shape()).ok_or(KernelError::Invalid {
            what: "rank of the input",
            value: x.rank(),
        })?;
        let lengths = match cx.inputs.optional(LENGTHS)? {
            None => None,
            Some(lengths) => Some(lengths.data::<i32>()?),
        };
        let (states, result) = (self.state_shape(shape), self.result_shape(shape));
        let mut h = self.initial(cx, INITIAL_H, &states)?;
        let mut c = match self.is_lstm() {
            true => Some(self.initial(cx, INITIAL_C, &states)?),
            false => None,
        };
        let mut y = cx.state.memory.tensor::<f32>(&result)?;
        let layer = RecurrentLayer {
            cell: self.cell,
            directions: self.directions,
            layout: self.layout,
            clip: self.clip,
            input_weights: &self.input_weights,
            state_weights: &self.state_weights,
            bias: self.bias.as_ref(),
            peephole: self.peephole.as_deref(),
        };
        recurrent(
            &cx.state.context,
            &mut cx.state.scratch,
            &layer,
            shape,
            (&x.data::<f32>()?, lengths.as_deref()),
            RecurrentState {
                h: h.data_mut::<f32>()?,
                c: match &mut c {
                    Some(c) => c.data_mut::<f32>()?,
                    None => &mut [],
                },
            },
            y.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, y);
        cx.outputs.set(1, h);
        if let Some(c) = c {
            cx.outputs.set(2, c);
        }
        Ok(())
    }
}

impl Recurrent {
    /// A copy of an initial state, 0 where there is none.
    fn initial(
        &self,
        cx: &mut StepContext<'_>,
        index: usize,
        shape: &[usize],
    ) -> Result<Tensor, StepError> {
        let given = cx.inputs.optional(index)?;
        let mut state = cx.state.memory.tensor::<f32>(shape)?;
        let data = state.data_mut::<f32>()?;
        match given {
            Some(given) => data.copy_from_slice(&given.data::<f32>()?),
            None => data.fill(0.0),
        }
        Ok(state)
    }
}
