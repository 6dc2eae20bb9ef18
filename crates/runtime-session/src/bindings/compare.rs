//! Comparisons and logic, and casts between the types that masks and indices have.

use super::guarded::{self, Partial};
use super::matmul::broadcast;
use crate::error::{SessionError, StepError};
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::{DType, Element};
use half::{bf16, f16};
use onnx_ir::operator::EvalError;
use onnx_ir::ops::elementwise::Cast;
use onnx_ir::{Node, NodeId};
use runtime_kernels::elementwise::{Half, map, narrow, widen, zip_spread};

/// Binds a comparison, `And`, `Or`, `Xor` or `Cast`; `None` for other nodes.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    if let Some(relation) = Relation::of(node) {
        return guarded::bind(selector, id, relation).map(Some);
    }
    let scope = selector.scope;
    let parsed = scope.catalog.parse(node, scope.opsets).ok();
    match parsed.as_ref().and_then(|o| o.downcast_ref::<Cast>()) {
        Some(&Cast { to, .. }) => guarded::bind(selector, id, Casting { to }).map(Some),
        None => Ok(None),
    }
}

/// What is asked of two elements.
#[derive(Clone, Copy)]
enum Relation {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Xor,
}

impl Relation {
    /// `None` for other nodes and for those of old opsets that broadcast from an `axis` on.
    fn of(node: &Node) -> Option<Self> {
        if node.attributes.get("axis").is_some() {
            return None;
        }
        Some(match node.op_type.as_str() {
            "Equal" => Self::Equal,
            "Greater" => Self::Greater,
            "GreaterOrEqual" => Self::GreaterOrEqual,
            "Less" => Self::Less,
            "LessOrEqual" => Self::LessOrEqual,
            "And" => Self::And,
            "Or" => Self::Or,
            "Xor" => Self::Xor,
            _ => return None,
        })
    }

    fn of_numbers<T: Element + PartialOrd>(
        self,
        cx: &mut StepContext<'_>,
    ) -> Result<(), StepError> {
        match self {
            Self::Greater => zip::<T, bool>(cx, |a, b| a > b),
            Self::GreaterOrEqual => zip::<T, bool>(cx, |a, b| a >= b),
            Self::Less => zip::<T, bool>(cx, |a, b| a < b),
            Self::LessOrEqual => zip::<T, bool>(cx, |a, b| a <= b),
            _ => zip::<T, bool>(cx, |a, b| a == b),
        }
    }
}

impl Partial for Relation {
    fn kernel(&self) -> &'static str {
        "compare"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let (Ok(a), Ok(b)) = (inputs.tensor(0), inputs.tensor(1)) else {
            return false;
        };
        let fits = match self {
            Self::And | Self::Or | Self::Xor => a.dtype() == DType::Bool,
            Self::Equal => is_number(a.dtype()) || a.dtype() == DType::Bool,
            _ => is_number(a.dtype()),
        };
        fits && a.dtype() == b.dtype() && a.rank() <= MAX_RANK && b.rank() <= MAX_RANK
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        match (self, cx.inputs.tensor(0)?.dtype()) {
            (Self::And, _) => zip::<bool, bool>(cx, |a, b| a & b),
            (Self::Or, _) => zip::<bool, bool>(cx, |a, b| a | b),
            (Self::Xor, _) => zip::<bool, bool>(cx, |a, b| a ^ b),
            (_, DType::F32) => self.of_numbers::<f32>(cx),
            (_, DType::I32) => self.of_numbers::<i32>(cx),
            (_, DType::I64) => self.of_numbers::<i64>(cx),
            (_, DType::U8) => self.of_numbers::<u8>(cx),
            (_, DType::I8) => self.of_numbers::<i8>(cx),
            (_, DType::Bool) => zip::<bool, bool>(cx, |a, b| a == b),
            (_, dtype) => Err(EvalError::DType { dtype }.into()),
        }
    }
}

/// As many axes as the kernel takes, whatever can be joined.
pub(super) const MAX_RANK: usize = 8;

fn is_number(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::F32 | DType::I32 | DType::I64 | DType::U8 | DType::I8
    )
}

/// Output 0 from inputs 0 and 1, spread over each other.
///
/// # Errors
/// [`EvalError`] where they do not broadcast.
pub(super) fn zip<T: Element, Y: Pooled>(
    cx: &mut StepContext<'_>,
    f: impl Fn(T, T) -> Y + Copy + Sync,
) -> Result<(), StepError> {
    let (a, b) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
    let shape = broadcast(a.shape(), b.shape()).ok_or_else(|| {
        let found = format_args!("{:?} and {:?}", a.shape(), b.shape());
        EvalError::rule("shapes must broadcast", found)
    })?;
    let mut out = cx.state.memory.tensor::<Y>(&shape)?;
    let (x, y) = (a.data::<T>()?, b.data::<T>()?);
    zip_spread(
        &cx.state.context,
        &shape,
        (&x, a.shape()),
        (&y, b.shape()),
        out.data_mut::<Y>()?,
        f,
    )?;
    cx.outputs.set(0, out);
    Ok(())
}

/// `Cast` where every element of the one type has its own in the other, or is rounded as `as` does or to nearest.
struct Casting {
    to: DType,
}

impl Partial for Casting {
    fn kernel(&self) -> &'static str {
        "cast"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let from = inputs.tensor(0).map(|x| x.dtype());
        matches!(
            (from, self.to),
            (Ok(DType::Bool), DType::F32 | DType::I32 | DType::I64)
                | (Ok(DType::I32 | DType::I64), DType::F32 | DType::Bool)
                | (Ok(DType::I32), DType::I64)
                | (Ok(DType::I64), DType::I32)
                | (Ok(DType::F32), DType::Bool | DType::F16 | DType::BF16)
                | (Ok(DType::F16 | DType::BF16), DType::F32)
        )
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        match (cx.inputs.tensor(0)?.dtype(), self.to) {
            (DType::Bool, DType::F32) => cast(cx, |x: bool| f32::from(u8::from(x))),
            (DType::Bool, DType::I32) => cast(cx, |x: bool| i32::from(x)),
            (DType::Bool, DType::I64) => cast(cx, |x: bool| i64::from(x)),
            (DType::I32, DType::F32) => cast(cx, |x: i32| x as f32),
            (DType::I64, DType::F32) => cast(cx, |x: i64| x as f32),
            (DType::I32, DType::I64) => cast(cx, |x: i32| i64::from(x)),
            (DType::I64, DType::I32) => cast(cx, |x: i64| x as i32),
            (DType::I32, DType::Bool) => cast(cx, |x: i32| x != 0),
            (DType::I64, DType::Bool) => cast(cx, |x: i64| x != 0),
            (DType::F32, DType::Bool) => cast(cx, |x: f32| x != 0.0),
            (DType::F16, DType::F32) => widened::<f16>(cx),
            (DType::BF16, DType::F32) => widened::<bf16>(cx),
            (DType::F32, DType::F16) => narrowed::<f16>(cx),
            (DType::F32, DType::BF16) => narrowed::<bf16>(cx),
            (dtype, _) => Err(EvalError::DType { dtype }.into()),
        }
    }
}

fn widened<T: Element + Half>(cx: &mut StepContext<'_>) -> Result<(), StepError> {
    let x = cx.inputs.tensor(0)?;
    let mut out = cx.state.memory.tensor::<f32>(x.shape())?;
    widen(&cx.state.context, &x.data::<T>()?, out.data_mut::<f32>()?)?;
    cx.outputs.set(0, out);
    Ok(())
}

fn narrowed<T: Pooled + Half>(cx: &mut StepContext<'_>) -> Result<(), StepError> {
    let x = cx.inputs.tensor(0)?;
    let mut out = cx.state.memory.tensor::<T>(x.shape())?;
    narrow(&cx.state.context, &x.data::<f32>()?, out.data_mut::<T>()?)?;
    cx.outputs.set(0, out);
    Ok(())
}

fn cast<A: Element, Y: Pooled>(
    cx: &mut StepContext<'_>,
    f: impl Fn(A) -> Y + Copy + Sync,
) -> Result<(), StepError> {
    let x = cx.inputs.tensor(0)?;
    let mut out = cx.state.memory.tensor::<Y>(x.shape())?;
    map(&cx.state.context, &x.data::<A>()?, out.data_mut::<Y>()?, f)?;
    cx.outputs.set(0, out);
    Ok(())
}
