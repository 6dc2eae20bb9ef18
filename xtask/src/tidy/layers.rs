//! The direction of dependencies: which crate may know which, and what it must never know.

use std::collections::BTreeMap;

use super::Finding;
use crate::process::{self, Error};

/// What one crate of the workspace may depend on.
struct Layer {
    name: &'static str,
    /// The crates of the workspace that it may know.
    may_know: &'static [&'static str],
    /// Foreign crates of concerns that belong elsewhere.
    never: &'static [&'static str],
}

/// Bottom up. Tests may in addition use `testkit` and any crate that is below or beside.
const LAYERS: &[Layer] = &[
    Layer {
        name: "compress-tensor",
        may_know: &[],
        never: &["prost", "rayon", "clap"],
    },
    Layer {
        name: "onnx-ir",
        may_know: &["compress-tensor"],
        never: &["rayon", "clap"],
    },
    Layer {
        name: "runtime-kernels",
        may_know: &["compress-tensor"],
        never: &["prost", "clap"],
    },
    Layer {
        name: "runtime-session",
        may_know: &["compress-tensor", "onnx-ir", "runtime-kernels"],
        never: &["prost", "clap"],
    },
    Layer {
        name: "compress-train",
        may_know: &[
            "compress-tensor",
            "onnx-ir",
            "runtime-kernels",
            "runtime-session",
        ],
        never: &["prost", "clap"],
    },
    Layer {
        name: "compress-quant",
        may_know: &[
            "compress-tensor",
            "onnx-ir",
            "runtime-kernels",
            "runtime-session",
        ],
        never: &["prost", "clap"],
    },
    Layer {
        name: "compress-kd",
        may_know: &[
            "compress-tensor",
            "onnx-ir",
            "runtime-kernels",
            "runtime-session",
            "compress-train",
        ],
        never: &["prost", "clap"],
    },
    Layer {
        name: "modelpress",
        may_know: &[
            "compress-tensor",
            "onnx-ir",
            "runtime-kernels",
            "runtime-session",
            "compress-train",
            "compress-quant",
            "compress-kd",
        ],
        never: &["prost", "clap"],
    },
    Layer {
        name: "modelpress-cli",
        may_know: &["modelpress"],
        never: &["prost"],
    },
    Layer {
        name: "modelpress-examples",
        may_know: &["modelpress"],
        never: &["prost"],
    },
    Layer {
        name: "modelpress-example-distill",
        may_know: &["compress-kd"],
        never: &["prost", "clap"],
    },
    Layer {
        name: "testkit",
        may_know: &[
            "compress-tensor",
            "onnx-ir",
            "runtime-kernels",
            "runtime-session",
        ],
        never: &["clap"],
    },
    Layer {
        name: "modelpress-benches",
        may_know: &[
            "compress-tensor",
            "onnx-ir",
            "runtime-kernels",
            "runtime-session",
            "compress-quant",
            "modelpress",
        ],
        never: &[],
    },
    Layer {
        name: "xtask",
        may_know: &[],
        never: &[],
    },
];

/// Crates that no library crate of the workspace takes, with the reason.
const NOWHERE: &[(&str, &str)] = &[("anyhow", "errors are enums with the facts in their fields")];

pub(super) fn find() -> Result<Vec<Finding>, Error> {
    let arguments = ["metadata", "--format-version", "1", "--no-deps"];
    let printed = process::capture(&mut process::cargo(&arguments))?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&printed).map_err(|source| Error::Output {
            command: "cargo metadata".into(),
            source,
        })?;
    Ok(judge(&dependencies(&metadata)))
}

/// The dependencies that each package needs outside of its tests.
fn dependencies(metadata: &serde_json::Value) -> BTreeMap<String, Vec<String>> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
    let mut packages = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let needed = list(&package["dependencies"]);
        let needed = needed
            .iter()
            .filter(|dependency| dependency["kind"] != "dev");
        packages.insert(
            text(&package["name"]),
            needed.map(|d| text(&d["name"])).collect(),
        );
    }
    packages
}

fn judge(packages: &BTreeMap<String, Vec<String>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, dependencies) in packages {
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
            findings.push(format!(
                "{name} has no place in the layers yet: say what it may know"
            ));
            continue;
        };
        for dependency in dependencies {
            let is_ours = packages.contains_key(dependency);
            if is_ours && !layer.may_know.contains(&dependency.as_str()) {
                findings.push(format!("{name} must not know {dependency}"));
            }
            if layer.never.contains(&dependency.as_str()) {
                findings.push(format!("{name} must not use {dependency}: not its concern"));
            }
            if let Some((_, reason)) = NOWHERE.iter().find(|(crate_, _)| crate_ == dependency) {
                findings.push(format!("{name} must not use {dependency}: {reason}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(entries: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        entries
            .iter()
            .map(|(name, needs)| (name.to_string(), owned(needs)))
            .collect()
    }

    #[test]
    fn an_upward_dependency_is_found() {
        let found = judge(&packages(&[
            ("compress-tensor", &["bytes"]),
            ("onnx-ir", &["compress-tensor", "prost"]),
            ("runtime-kernels", &["onnx-ir"]),
        ]));
        assert_eq!(found, ["runtime-kernels must not know onnx-ir"]);
    }

    #[test]
    fn foreign_concerns_and_unplaced_crates_are_found() {
        let found = judge(&packages(&[
            ("compress-quant", &["prost", "anyhow"]),
            ("novel", &[]),
        ]));
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
