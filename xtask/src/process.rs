//! Running other programs, and the one error type of this package.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a task could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The arguments are not those of the command.
    #[error("usage: {usage}")]
    Usage { usage: String },
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        program: String,
        source: std::io::Error,
    },
    /// A program ended badly.
    #[error("`{command}` ended with {status}")]
    Ended {
        command: String,
        status: std::process::ExitStatus,
    },
    /// A program printed something else than agreed.
    #[error("`{command}` printed what is not valid JSON: {source}")]
    Output {
        command: String,
        source: serde_json::Error,
    },
    /// The protobuf definitions could not be compiled.
    #[cfg(feature = "codegen")]
    #[error("{path}: {source}")]
    Protobuf {
        path: PathBuf,
        source: Box<protox::Error>,
    },
    /// A checked-in generated file is not what its generator writes.
    #[error("{path} is stale: run `cargo xtask {command}` and commit what it writes")]
    Stale {
        path: PathBuf,
        command: &'static str,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}

/// `cargo`, the one that started this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command(&program, arguments)
}

/// A program to be run in the repository's root.
pub(crate) fn command(program: &(impl AsRef<OsStr> + ?Sized), arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(crate::workspace::root());
    command
}

/// Runs `command` to its end, its output going to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let status = command
        .status()
        .map_err(|source| start_error(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Ended {
            command: show(command),
            status,
        })
    }
}

/// Runs `command` and returns what it printed.
pub(crate) fn capture(command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| start_error(command, source))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Ended {
            command: show(command),
            status: output.status,
        })
    }
}

/// Runs `command`, echoing each line it prints and handing it to `on_line`; `true` if it ended well.
pub(crate) fn stream(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool, Error> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| start_error(command, source))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|source| start_error(command, source))?;
            println!("{line}");
            on_line(&line);
        }
    }
    let status = child
        .wait()
        .map_err(|source| start_error(command, source))?;
    Ok(status.success())
}

fn start_error(command: &Command, source: std::io::Error) -> Error {
    Error::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
