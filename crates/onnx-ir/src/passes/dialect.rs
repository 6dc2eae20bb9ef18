//! Which operators a fusion may write.

/// Which operators a fusion may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Those of the ONNX standard, at the model's opset.
    #[default]
    Standard,
    /// Also those of `com.microsoft`, which ONNX Runtime and the session of this project run.
    Microsoft,
}
