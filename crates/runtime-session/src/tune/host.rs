//! What a measured choice depends on beside the step: the processor, the kernels and the threads.

use crate::roofline::cpu_name;
use runtime_kernels::{Context, Isa};
use serde::{Deserialize, Serialize};

/// A processor as one session uses it. Choices that were measured on one are of no use on another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Host {
    /// The name of the processor.
    cpu: String,
    /// Vendor, family, model and stepping, as the system gives them: virtual machines have vague names.
    identity: String,
    /// The instruction sets that it was found to have.
    features: Vec<String>,
    /// The one that kernels use.
    isa: String,
    /// Cores that this process may use.
    cores: usize,
    /// Threads of one run.
    threads: usize,
    /// The version of this crate, whose kernels were measured.
    version: String,
}

impl Host {
    /// This machine, with the instruction set and the threads of a session.
    pub(super) fn of(context: &Context) -> Self {
        Self {
            cpu: cpu_name(),
            identity: identity(),
            features: Isa::available().iter().map(ToString::to_string).collect(),
            isa: context.isa.to_string(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: context.parallelism.threads(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The lines of the system's description that tell models of processors apart.
fn identity() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(name, value)| (name.trim() == key).then(|| value.trim()))
    };
    let keys = [
        "vendor_id",
        "cpu family",
        "model",
        "stepping",
        "CPU implementer",
        "CPU part",
        "CPU revision",
    ];
    let found: Vec<&str> = keys.into_iter().filter_map(value).collect();
    found.join(" ")
}
