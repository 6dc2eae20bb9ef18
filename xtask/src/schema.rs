//! `cargo xtask schema`: the operator schema facts, from the pinned `onnx` and `onnxruntime`
//! packages, into `crates/onnx-ir/src/schema/`. The format is described in the reader there.

use std::path::Path;

use crate::process::{self, Error};
use crate::tally::Tally;
use crate::{venv, workspace};

/// The generator's argument and the file it fills.
const FILES: &[(&str, &str)] = &[
    ("onnx", "crates/onnx-ir/src/schema/onnx_schemas.txt"),
    (
        "com.microsoft",
        "crates/onnx-ir/src/schema/com_microsoft_schemas.txt",
    ),
];

/// Writes the files, or with `--check` fails when one that is checked in is stale.
pub(crate) fn run(arguments: &[String]) -> Result<Tally, Error> {
    let python = venv::ensure()?;
    let mode = Mode::from_arguments(arguments);
    for (what, file) in FILES {
        let script = ["xtask/python/schemas.py", what];
        let text = process::capture(&mut process::command(&python, &script))?;
        let text = String::from_utf8_lossy(&text);
        mode.apply(&workspace::root().join(file), &text, "schema")?;
    }
    Ok(Tally::default())
}

/// Whether a generator writes its file or compares with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

impl Mode {
    /// [`Mode::Check`] when `--check` was given.
    pub(crate) fn from_arguments(arguments: &[String]) -> Self {
        if arguments.iter().any(|argument| argument == "--check") {
            Self::Check
        } else {
            Self::Write
        }
    }

    /// Writes `text` to `path`, or fails when the file there is different.
    pub(crate) fn apply(self, path: &Path, text: &str, command: &'static str) -> Result<(), Error> {
        match self {
            Self::Write => std::fs::write(path, text).map_err(Error::file(path)),
            Self::Check => match std::fs::read_to_string(path) {
                Ok(found) if found == text => Ok(()),
                _ => Err(Error::Stale {
                    path: path.to_path_buf(),
                    command,
                }),
            },
        }
    }
}
