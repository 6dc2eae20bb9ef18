//! Running the program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a file holds.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|e| name(e).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_modelpress"))
            .args(arguments)
            .args(["--threads", "1"])
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// Runs with `--json` and gives the object; the verb must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs what must be wrong usage and gives the message.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        text
    }

    /// Runs and gives the error line; the verb must fail with exit code 1.
    pub(crate) fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let line = stderr(&output);
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An object that has these keys, whatever others.
pub(crate) fn check_keys(object: &serde_json::Value, expected: &[&str]) {
    for key in expected {
        assert!(keys(object).contains(key), "{key}");
    }
}

/// What the outcomes of `train`, `distill` and `qat` say of the run.
pub(crate) const RUN: [&str; 14] = [
    "output",
    "checkpoint",
    "resumed",
    "samples",
    "held_out",
    "steps",
    "epochs",
    "watched",
    "best",
    "stopped_early",
    "trained",
    "output_bytes",
    "seconds",
    "threads",
];

pub(crate) fn keys(object: &serde_json::Value) -> Vec<&str> {
    let object = object.as_object().unwrap();
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
