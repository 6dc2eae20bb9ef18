//! The operator `Attention` in f32, with or without a cache.

use super::{Extents, Heads, mask_of, run, scores_of};
use crate::bindings::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId};
use runtime_kernels::attention::{AttentionScores, HeadOrder};
use runtime_kernels::elementwise::map;

/// The inputs that hold earlier keys and values, and the outputs that hold them with those of this run.
const PAST: [usize; 2] = [4, 5];
const PRESENT: [usize; 2] = [1, 2];

/// Binds the operator `Attention`.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    match Attention::of(selector.graph.node(id)) {
        Some(attention) => guarded::bind(selector, id, attention).map(Some),
        None => Ok(None),
    }
}

/// `Attention` of the standard, without a window.
struct Attention {
    causal: bool,
    q_heads: usize,
    kv_heads: usize,
    scale: Option<f32>,
    cap: f32,
    /// Whether keys and values are wanted with those of earlier runs before them.
    presents: [bool; 2],
}

impl Attention {
    fn of(node: &Node) -> Option<Self> {
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let windows = ["left_window_size", "right_window_size"];
        let is_windowed = windows
            .iter()
            .any(|name| node.attributes.get(name).is_some());
        let beyond =
            |values: &[Option<_>], from: usize| values.iter().skip(from).any(Option::is_some);
        if !node.is("Attention")
            || is_windowed
            || beyond(node.inputs(), 6)
            || beyond(node.outputs(), 3)
        {
            return None;
        }
        Some(Self {
            causal: attrs.flag_or("is_causal", false).ok()?,
            q_heads: attrs.size_or("q_num_heads", 0).ok()?,
            kv_heads: attrs.size_or("kv_num_heads", 0).ok()?,
            scale: attrs.f32_opt("scale").ok()?,
            cap: attrs.f32_or("softcap", 0.0).ok()?,
            presents: PRESENT.map(|i| node.outputs().get(i).is_some_and(Option::is_some)),
        })
    }

    /// What the inputs are, where they fit each other.
    fn operands(&self, inputs: Inputs<'_>) -> Option<Operands> {
        let of = |i, heads| heads_of(inputs.tensor(i).ok()?, heads);
        let [q, k, v] = [
            of(0, self.q_heads)?,
            of(1, self.kv_heads)?,
            of(2, self.kv_heads)?,
        ];
        let past = |i, [batch, heads, _, size]: Extents| match inputs.optional(i) {
            Ok(None) => Some(None),
            Ok(Some(past)) => match *past.shape() {
                [b, h, rows, s] if [b, h, s] == [batch, heads, size] => Some(Some(rows)),
                _ => None,
            },
            Err(_) => None,
        };
        let [past_keys, past_values] = [past(PAST[0], k.0)?, past(PAST[1], v.0)?];
        let ([batch, heads, _, size], [k_batch, kv_heads, keys, k_size]) = (q.0, k.0);
        let fits = (batch, size) == (k_batch, k_size)
            && [k_batch, kv_heads, keys] == v.0[..3]
            && heads.checked_rem(kv_heads) == Some(0)
            && past_keys == past_values;
        fits.then_some(Operands {
            extents: [q.0, k.0, v.0],
            orders: [q.1, k.1, v.1],
            past: past_keys,
        })
    }
}

/// The heads of a tensor and their order: packed ones have three axes.
fn heads_of(x: &Tensor, heads: usize) -> Option<(Extents, HeadOrder)> {
    match *x.shape() {
        [batch, heads, rows, size] => Some(([batch, heads, rows, size], HeadOrder::HeadsFirst)),
        [batch, rows, hidden] if hidden.checked_rem(heads) == Some(0) => {
            Some(([batch, heads, rows, hidden / heads], HeadOrder::RowsFirst))
        }
        _ => None,
    }
}

/// Queries, keys and values of a run.
struct Operands {
    extents: [Extents; 3],
    orders: [HeadOrder; 3],
    /// Rows of earlier keys and values, where there are such inputs.
    past: Option<usize>,
}

impl Operands {
    /// The extents with earlier keys and values.
    fn whole(&self) -> [Extents; 3] {
        let mut whole = self.extents;
        for extents in &mut whole[1..] {
            extents[2] += self.past.unwrap_or(0);
        }
        whole
    }
}

impl Partial for Attention {
    fn kernel(&self) -> &'static str {
        "attention.f32"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let Some(operands) = self.operands(inputs) else {
            return false;
        };
        let scores = scores_of(&operands.whole());
        let mask = match inputs.optional(3) {
            Ok(None) => true,
            Ok(Some(mask)) => {
                // Keys behind a mask's last column are left out, which a column of one is not.
                let whole = mask.shape().last() == Some(&scores[3]) && mask.rank() >= 2;
                let taken = matches!(mask.dtype(), DType::F32 | DType::Bool);
                whole && taken && mask_of(&[], mask.shape(), scores).is_ok()
            }
            Err(_) => false,
        };
        let is_past = |i: &usize| inputs.optional(*i).is_ok_and(|x| x.is_some());
        let floats = PAST
            .iter()
            .filter(|i| is_past(i))
            .all(|&i| is_f32(inputs, i));
        mask && floats
            && (0..3).all(|i| is_f32(inputs, i) && inputs.tensor(i).is_ok_and(|x| !x.is_empty()))
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let operands = self.operands(cx.inputs).ok_or_else(|| {
            let shapes = [0, 1, 2].map(|i| cx.inputs.tensor(i).map(|x| x.shape().to_vec()).ok());
            EvalError::rule(
                "queries, keys and values must fit each other",
                format_args!("{shapes:?}"),
            )
        })?;
        let (orders, whole) = (operands.orders, operands.whole());
        let size = whole[0][3].max(1) as f32;
        let mut scores = AttentionScores::scaled(self.scale.unwrap_or(1.0 / size.sqrt()));
        scores.cap = self.cap;
        scores.causal = self.causal.then_some(operands.past.unwrap_or(0));
        scores.unseeing_is_zero = true;
        let given = cx.inputs.optional(3)?;
        let made = match given {
            Some(mask) if mask.dtype() == DType::Bool => Some(summands(cx, mask)?),
            _ => None,
        };
        let mask = made.as_ref().or(given);
        let data = mask.map(Tensor::data::<f32>).transpose()?;
        if let (Some(mask), Some(data)) = (mask, &data) {
            scores.mask = Some(mask_of(data, mask.shape(), scores_of(&whole))?);
        }
        let mut presents = [None, None];
        for (i, present) in presents.iter_mut().enumerate() {
            if operands.past.is_some() || self.presents[i] {
                *present = Some(joined(cx, &operands, i)?);
            }
        }
        let [q, k, v] = [0, 1, 2].map(|i| cx.inputs.tensor(i));
        let (q, [k_present, v_present]) = (q?.data::<f32>()?, &presents);
        let (k_source, k_order) = whole_of(k_present, k?, orders[1]);
        let (v_source, v_order) = whole_of(v_present, v?, orders[2]);
        let (k, v) = (k_source.data::<f32>()?, v_source.data::<f32>()?);
        let heads = [
            Heads::new(&q, whole[0], orders[0]),
            Heads::new(&k, whole[1], k_order),
            Heads::new(&v, whole[2], v_order),
        ];
        let [batch, count, queries, _] = whole[0];
        let result = match orders[0] {
            HeadOrder::RowsFirst => Some(Shape::from([batch, queries, count * whole[2][3]])),
            HeadOrder::HeadsFirst => None,
        };
        run(cx, heads, &scores, orders[0], result)?;
        drop((data, k, v));
        if let Some(made) = made {
            cx.state.memory.recycle(made.into());
        }
        for (present, index) in presents.into_iter().zip(PRESENT) {
            if let Some(present) = present {
                cx.outputs.set(index, present);
            }
        }
        Ok(())
    }
}

/// The keys or values of all rows, and their order.
fn whole_of<'t>(
    present: &'t Option<Tensor>,
    own: &'t Tensor,
    order: HeadOrder,
) -> (&'t Tensor, HeadOrder) {
    match present {
        Some(present) => (present, HeadOrder::HeadsFirst),
        None => (own, order),
    }
}

/// A mask of whether keys are seen, as what is added to their scores.
fn summands(cx: &mut StepContext<'_>, mask: &Tensor) -> Result<Tensor, StepError> {
    let mut made = cx.state.memory.tensor::<f32>(mask.shape())?;
    let summand = |seen: bool| if seen { 0.0 } else { f32::NEG_INFINITY };
    let (seen, to) = (mask.data::<bool>()?, made.data_mut::<f32>()?);
    map(&cx.state.context, &seen, to, summand)?;
    Ok(made)
}

/// Keys (0) or values (1), behind those of earlier runs: `[batch, heads, rows, size]`.
fn joined(cx: &mut StepContext<'_>, operands: &Operands, i: usize) -> Result<Tensor, StepError> {
    let ([_, heads, rows, size], order) = (operands.extents[i + 1], operands.orders[i + 1]);
    let whole = operands.whole()[i + 1];
    let mut out = cx.state.memory.tensor::<f32>(&whole)?;
    let past = cx.inputs.optional(PAST[i])?;
    let past = past.map(Tensor::data::<f32>).transpose()?;
    let past = past.as_deref().unwrap_or_default();
    let own = cx.inputs.tensor(i + 1)?.data::<f32>()?;
    let before = operands.past.unwrap_or(0) * size;
    let to = out.data_mut::<f32>()?;
    let chunks = to.chunks_exact_mut((whole[2] * size).max(1));
    for (head, to) in chunks.enumerate() {
        let (earlier, to) = to.split_at_mut(before);
        earlier.copy_from_slice(&past[head * before..][..before]);
        match order {
            HeadOrder::HeadsFirst => to.copy_from_slice(&own[head * rows * size..][..rows * size]),
            HeadOrder::RowsFirst => {
                let (b, h) = (head / heads, head % heads);
                for (row, to) in to.chunks_exact_mut(size.max(1)).enumerate() {
                    let at = ((b * rows + row) * heads + h) * size;
                    to.copy_from_slice(&own[at..at + size]);
                }
            }
        }
    }
    Ok(out)
}
