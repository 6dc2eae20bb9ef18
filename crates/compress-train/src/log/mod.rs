//! A log of numbers by step: CSV or JSON lines, appended to row by row, cut back where a run is taken up again.

mod csv;
mod json;

use compress_tensor::write_atomically;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A header line, then the values in its order (RFC 4180).
    #[default]
    Csv,
    /// An object a line.
    JsonLines,
}

/// The numbers of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The step.
    pub step: u64,
    /// One number for each column; `None` where there is none.
    pub values: Vec<Option<f64>>,
}

/// A log file.
///
/// A row is written whole by one call to the system, so that a run that is killed leaves whole rows, or a part of one at the end, which
/// [`Log::resume`] drops. Numbers are written so that they read back to the same bits.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    format: LogFormat,
    columns: Vec<String>,
    file: File,
}

/// The name of the first column.
const STEP: &str = "step";

impl Log {
    /// Begins a log; a file that is there is replaced.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::Column`].
    pub fn create(
        path: impl AsRef<Path>,
        format: LogFormat,
        columns: &[&str],
    ) -> Result<Self, LogError> {
        let columns = checked(columns)?;
        Self::with_rows(path.as_ref(), format, columns, &[])
    }

    /// Takes up a log behind a step: rows of later steps are dropped, for they will be written again. Without a file one is begun.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::Column`], [`LogError::OtherColumns`], [`LogError::Row`].
    pub fn resume(
        path: impl AsRef<Path>,
        format: LogFormat,
        columns: &[&str],
        step: u64,
    ) -> Result<Self, LogError> {
        let (path, columns) = (path.as_ref(), checked(columns)?);
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(io_error(path, source)),
        };
        let mut rows = parse(path, format, &columns, &text)?;
        rows.retain(|row| row.step <= step);
        Self::with_rows(path, format, columns, &rows)
    }

    fn with_rows(
        path: &Path,
        format: LogFormat,
        columns: Vec<String>,
        rows: &[Row],
    ) -> Result<Self, LogError> {
        let mut text = match format {
            LogFormat::Csv => csv::header(&columns),
            LogFormat::JsonLines => String::new(),
        };
        rows.iter()
            .for_each(|row| text.push_str(&line(format, &columns, row)));
        let written: io::Result<()> =
            write_atomically(path, |file| file.write_all(text.as_bytes()));
        written.map_err(|source| io_error(path, source))?;
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self {
            file: file.map_err(|source| io_error(path, source))?,
            path: path.to_owned(),
            format,
            columns,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`LogError::Values`] for another number of values than of columns, [`LogError::Io`].
    pub fn append(&mut self, step: u64, values: &[Option<f64>]) -> Result<(), LogError> {
        if values.len() != self.columns.len() {
            return Err(LogError::Values {
                expected: self.columns.len(),
                found: values.len(),
            });
        }
        let row = Row {
            step,
            values: values.to_vec(),
        };
        let line = line(self.format, &self.columns, &row);
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| io_error(&self.path, source))
    }

    /// The names of the columns behind the step.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// All rows of the file.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::OtherColumns`], [`LogError::Row`].
    pub fn rows(&self) -> Result<Vec<Row>, LogError> {
        let text = fs::read_to_string(&self.path).map_err(|source| io_error(&self.path, source))?;
        parse(&self.path, self.format, &self.columns, &text)
    }
}

fn checked(columns: &[&str]) -> Result<Vec<String>, LogError> {
    for (at, &name) in columns.iter().enumerate() {
        if name == STEP
            || name.is_empty()
            || name.contains(['\n', '\r'])
            || columns[..at].contains(&name)
        {
            return Err(LogError::Column {
                name: name.to_owned(),
            });
        }
    }
    Ok(columns.iter().map(ToString::to_string).collect())
}

fn line(format: LogFormat, columns: &[String], row: &Row) -> String {
    match format {
        LogFormat::Csv => csv::line(row),
        LogFormat::JsonLines => json::line(columns, row),
    }
}

/// The whole rows of a text; a last line without its end is left out.
fn parse(
    path: &Path,
    format: LogFormat,
    columns: &[String],
    text: &str,
) -> Result<Vec<Row>, LogError> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines().enumerate();
    if format == LogFormat::Csv
        && let Some((_, found)) = lines.next()
        && found != csv::header(columns).trim_end()
    {
        return Err(LogError::OtherColumns {
            path: path.to_owned(),
            expected: columns.to_vec(),
            found: found.to_owned(),
        });
    }
    let row = |(number, line)| {
        let row = match format {
            LogFormat::Csv => csv::parse(line, columns.len()),
            LogFormat::JsonLines => json::parse(line, columns),
        };
        row.ok_or_else(|| LogError::Row {
            path: path.to_owned(),
            line: number + 1,
        })
    };
    lines.map(row).collect()
}

fn io_error(path: &Path, source: io::Error) -> LogError {
    LogError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Why a log cannot be written or taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A column that is named as another one, as the step, with nothing, or over two lines.
    #[error("a log cannot have the column {name:?}: names are unique, of one line, and not `step`")]
    Column {
        /// The name.
        name: String,
    },
    /// Another number of values than of columns.
    #[error("there are {found} values for {expected} columns")]
    Values {
        /// The number of columns.
        expected: usize,
        /// The number of values.
        found: usize,
    },
    /// A file that was written with other columns.
    #[error("{}: the columns are `{found}` instead of {expected:?}", path.display())]
    OtherColumns {
        /// The file.
        path: PathBuf,
        /// The columns that the log has.
        expected: Vec<String>,
        /// The first line of the file.
        found: String,
    },
    /// A line that is no row of this log.
    #[error("{}: line {line} is no row of this log", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

#[cfg(test)]
mod tests;
