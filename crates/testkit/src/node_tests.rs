//! The ONNX backend node tests, and the session as one of the runtimes that they judge.

pub use onnx_ir::backend_tests::*;

use onnx_ir::{Model, Value};
use runtime_session::{Session, SessionOptions};

/// The session, with fused nodes and integer regions.
#[derive(Clone, Copy, Debug, Default)]
pub struct InSession;

impl Runtime for InSession {
    fn run(&self, model: &Model, inputs: Vec<(String, Value)>) -> Result<Vec<Value>, String> {
        let session =
            Session::new(model.clone(), &SessionOptions::default()).map_err(|e| e.to_string())?;
        let inputs = inputs
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        session.run_values(inputs).map_err(|e| e.to_string())
    }
}
