//! An operator's name and history. Arity, types and attribute facts stand in the schema data
//! (`crate::schema`), not here.

/// The domain of this project's own operators: gradients that the standard's operators express badly.
pub const PRIVATE_DOMAIN: &str = "modelpress";
/// The version of [`PRIVATE_DOMAIN`].
pub const PRIVATE_DOMAIN_VERSION: i64 = 1;

/// Name, domain and history of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The domain; empty for `ai.onnx`.
    pub domain: &'static str,
    /// The operator's name, as in `Conv`.
    pub name: &'static str,
    /// The opset versions at which a new version of the operator came, rising.
    pub versions: &'static [u32],
}

impl Signature {
    /// An operator of the default domain.
    pub const fn onnx(name: &'static str, versions: &'static [u32]) -> Self {
        Self {
            domain: "",
            name,
            versions,
        }
    }

    /// An operator of ONNX Runtime's `com.microsoft` domain.
    pub const fn microsoft(name: &'static str) -> Self {
        Self {
            domain: "com.microsoft",
            name,
            versions: &[1],
        }
    }

    /// An operator of this project's own domain, [`PRIVATE_DOMAIN`].
    pub const fn private(name: &'static str) -> Self {
        Self {
            domain: PRIVATE_DOMAIN,
            name,
            versions: &[1],
        }
    }

    /// The version of the operator that holds at an opset.
    pub fn since(&self, opset: i64) -> Option<u32> {
        self.versions
            .iter()
            .rev()
            .copied()
            .find(|&v| i64::from(v) <= opset)
    }
}
