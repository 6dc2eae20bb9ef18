//! What every verb shares: how to report, how many threads, loading and saving.

use crate::error::Error;
use crate::progress::Progress;
use modelpress::ir::Model;
use modelpress::ir::io::SaveOptions;
use modelpress::session::{Session, SessionOptions};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

pub(crate) struct Context {
    json: bool,
    threads: usize,
    options: SessionOptions,
    colour: bool,
}

impl Context {
    pub(crate) fn new(json: bool, threads: usize, options: SessionOptions) -> Self {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            json,
            threads,
            options,
            colour,
        }
    }

    /// Whether the outcome is to be printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the outcome: as one JSON object, or as `text` writes it.
    pub(crate) fn report<T: Serialize>(
        &self,
        outcome: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            serde_json::to_writer(&mut out, outcome).map_err(|e| Error::Output(e.into()))?;
            writeln!(out).map_err(Error::Output)?;
        } else {
            text(&mut out).map_err(Error::Output)?;
        }
        out.flush().map_err(Error::Output)
    }

    pub(crate) fn progress(&self, what: &'static str, length: usize) -> Progress {
        Progress::new(what, length)
    }

    /// `error`, red where standard error shows colours.
    pub(crate) fn error_word(&self) -> &'static str {
        if self.colour {
            "\u{1b}[1;31merror\u{1b}[0m"
        } else {
            "error"
        }
    }

    /// The number of threads that runs use.
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }

    pub(crate) fn session_options(&self) -> SessionOptions {
        self.options.clone().with_threads(self.threads())
    }

    pub(crate) fn session(&self, model: Model) -> Result<Session, Error> {
        Ok(Session::new(model, &self.session_options())?)
    }
}

pub(crate) fn load(path: &Path) -> Result<Model, Error> {
    Ok(load_with_files(path)?.0)
}

/// The model, and the files beside it that hold its weights.
pub(crate) fn load_with_files(path: &Path) -> Result<(Model, Vec<PathBuf>), Error> {
    Model::load_with_files(path).map_err(|source| Error::Load {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn save(model: &Model, path: &Path) -> Result<(), Error> {
    model
        .save(path, &SaveOptions::default())
        .map_err(|source| Error::Save {
            path: path.to_owned(),
            source,
        })
}

/// Bytes of a model on disk: the file, and the data file beside it where there is one.
pub(crate) fn bytes_on_disk(path: &Path) -> Result<u64, Error> {
    let file = std::fs::metadata(path).map_err(Error::file(path))?;
    let mut data = path.as_os_str().to_owned();
    data.push(".data");
    let data = std::fs::metadata(Path::new(&data)).map_or(0, |m| m.len());
    Ok(file.len() + data)
}

/// The most memory that this process has held, in bytes; known on Linux only.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
