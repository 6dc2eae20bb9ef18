//! What an operator is: a typed attribute struct with facets.
//!
//! One operator is one file under `ops/`, one struct that implements [`Operator`] and one line in the
//! [`Catalog`]. A facet that is not there is [`Unsupported`] with a reason, never a silent default.

mod attrs;
mod catalog;
mod error;
mod eval_context;
mod facets;
mod infer_context;
pub mod prelude;
mod signature;

pub use attrs::Attrs;
pub use catalog::{Catalog, OpEntry};
pub use error::{AttrError, EvalError, InferError, ParseError};
pub use eval_context::{EvalContext, Limits, SubgraphRunner};
pub use facets::{Gradient, GradientKind, QuantRule, Unsupported};
pub use infer_context::{InferContext, SubgraphInferrer};
pub use signature::{PRIVATE_DOMAIN, PRIVATE_DOMAIN_VERSION, Signature};

use crate::fact::Fact;
use crate::gradient::GradientContext;
use crate::value::Value;
use std::any::Any;
use std::fmt::Debug;

/// An operator: its attributes as a typed struct, its meaning as facets.
pub trait Operator: Clone + Debug + Send + Sync + 'static {
    /// Name, domain and the opset versions at which the meaning changed.
    const SIGNATURE: Signature;

    /// How adjoints flow from the outputs to the inputs.
    const GRADIENT: Gradient<Self> = Gradient::Undefined("no gradient of this operator is defined");

    /// Reads the attributes. An attribute that is not asked for is an error.
    ///
    /// # Errors
    /// [`AttrError`] names the attribute and the rule.
    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError>;

    /// The facts of the outputs from the facts of the inputs.
    ///
    /// # Errors
    /// [`InferError`] where the inputs contradict the operator's rules; what is merely not known is
    /// an unknown fact, not an error.
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError>;

    /// The reference result: naive, and the oracle for everything faster.
    ///
    /// # Errors
    /// [`EvalError`] names the rule that the inputs break. Never panics.
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError>;

    /// How to quantize this operator.
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("no quantized form of this operator is defined")
    }

    /// Whether two runs on the same inputs may differ: such a node is never folded or shared.
    fn is_random(&self) -> bool {
        false
    }
}

/// [`Operator`] behind a pointer: what the drivers (inference, evaluation, passes) work with.
pub trait DynOperator: Debug + Send + Sync {
    /// See [`Operator::SIGNATURE`].
    fn signature(&self) -> &'static Signature;
    /// See [`Operator::infer`].
    ///
    /// # Errors
    /// As there.
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError>;
    /// See [`Operator::eval`].
    ///
    /// # Errors
    /// As there.
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError>;
    /// See [`Operator::quantization`].
    fn quantization(&self) -> QuantRule;
    /// See [`Operator::is_random`].
    fn is_random(&self) -> bool;
    /// The kind of [`Operator::GRADIENT`].
    fn gradient_kind(&self) -> GradientKind;
    /// Runs the function of [`Operator::GRADIENT`]; nothing flows where there is none to run.
    ///
    /// # Errors
    /// [`Unsupported`] with the reason, also for [`Gradient::Undefined`].
    fn gradient(&self, cx: &GradientContext<'_>) -> Result<(), Unsupported>;
    /// For [`dyn DynOperator::downcast_ref`](DynOperator).
    fn as_any(&self) -> &dyn Any;
}

impl<T: Operator> DynOperator for T {
    fn signature(&self) -> &'static Signature {
        const { &T::SIGNATURE }
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Operator::infer(self, cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Operator::eval(self, cx)
    }
    fn quantization(&self) -> QuantRule {
        Operator::quantization(self)
    }
    fn is_random(&self) -> bool {
        Operator::is_random(self)
    }
    fn gradient_kind(&self) -> GradientKind {
        T::GRADIENT.kind()
    }
    fn gradient(&self, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
        match T::GRADIENT {
            Gradient::Graph(build) | Gradient::Quantizer(build) => build(self, cx),
            Gradient::Zero => Ok(()),
            Gradient::Undefined(reason) => Err(Unsupported(reason)),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl dyn DynOperator {
    /// The typed operator, where it is a `T`.
    pub fn downcast_ref<T: Operator>(&self) -> Option<&T> {
        self.as_any().downcast_ref()
    }
}
