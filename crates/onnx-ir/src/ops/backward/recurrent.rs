//! `RNNGrad`, `GRUGrad` and `LSTMGrad`: the adjoints of the recurrent layers, back through time. For the step that makes
//! the states `s'` of `s` and `x`: `ds = ds' * d s' / d s`, the adjoint of output `Y` of the step being added to that of `h'`,
//! and the adjoints of the weights are summed over steps and sequences.
//!
//! Inputs: the adjoints of `Y`, `Y_h` and for `LSTM` `Y_c`, any of which may be left out, then those of the layer. Outputs: the
//! adjoints of `X`, `W`, `R`, `B`, `initial_h`, for `LSTM` of `initial_c` and `P`, any of which may be left out. Attributes as of the
//! layer. Werbos, Proc. IEEE 78 (10), 1990.

use super::scatter_add::SECOND_ORDER;
use crate::operator::prelude::*;
use crate::ops::recurrent::{Gru, Lstm, Rnn};

macro_rules! layer_gradient {
    ($name:ident, $layer:ty, $op:literal) => {
        #[doc = concat!("The attributes of `", $op, "`.")]
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name(pub $layer);

        impl Operator for $name {
            const SIGNATURE: Signature = Signature::private($op);
            const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

            fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
                <$layer>::parse(attrs).map(Self)
            }
            fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
                <$layer>::infer_back(cx)
            }
            fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
                self.0.eval_back(cx)
            }
        }
    };
}

layer_gradient!(RnnGrad, Rnn, "RNNGrad");
layer_gradient!(GruGrad, Gru, "GRUGrad");
layer_gradient!(LstmGrad, Lstm, "LSTMGrad");
