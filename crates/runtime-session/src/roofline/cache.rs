//! The table in the user's cache folder.
//!
//! One file per processor, instruction set, number of threads and version of this crate:
//! `modelpress/machine-<name>.json`. A file that cannot be read, or says what nobody measures, is as none.

use super::machine::Machine;
use crate::{SessionError, SessionOptions};
use compress_tensor::write_atomically;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a table could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("the measured rates cannot be kept in {}: {source}", .path.display())]
pub struct CacheError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub source: io::Error,
}

impl Machine {
    /// The table of this machine for the instruction set and the threads of `options`: from the user's cache folder, else measured
    /// and kept there. The folder is `XDG_CACHE_HOME`, else `LOCALAPPDATA`, else `Library/Caches` (macOS) or `.cache` in `HOME`;
    /// without one, or where it cannot be written, the second result says so and the next call measures again.
    ///
    /// # Errors
    /// As [`Machine::measure`].
    pub fn cached(
        options: &SessionOptions,
    ) -> Result<(Self, Result<(), CacheError>), SessionError> {
        Self::cached_in(folder().as_deref(), options)
    }

    /// As [`Machine::cached`], in a folder of your own.
    ///
    /// # Errors
    /// As [`Machine::measure`].
    pub fn cached_in(
        folder: Option<&Path>,
        options: &SessionOptions,
    ) -> Result<(Self, Result<(), CacheError>), SessionError> {
        let context = crate::session::context(options)?;
        let options = options
            .clone()
            .with_parallelism(context.parallelism.clone());
        let named = Self::unmeasured(&context);
        let path = folder.map(|folder| folder.join("modelpress").join(named.file_name()));
        if let Some(machine) = path.as_deref().and_then(read)
            && machine.is_named_as(&named)
        {
            return Ok((machine, Ok(())));
        }
        let machine = Self::measure(&options)?;
        let kept = match path {
            Some(path) => machine
                .keep(&path)
                .map_err(|source| CacheError { path, source }),
            None => Err(CacheError {
                path: PathBuf::new(),
                source: io::Error::new(io::ErrorKind::NotFound, "there is no cache folder"),
            }),
        };
        Ok((machine, kept))
    }

    fn is_named_as(&self, other: &Self) -> bool {
        let name = |m: &Self| (m.cpu.clone(), m.isa.clone(), m.threads, m.version.clone());
        name(self) == name(other)
    }

    fn file_name(&self) -> String {
        let name = format!(
            "{} {} {} {}",
            self.cpu, self.isa, self.threads, self.version
        );
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        };
        let name: String = name.chars().map(plain).take(LONGEST_NAME).collect();
        format!("machine-{name}.json")
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from)?;
        write_atomically(path, |file| file.write_all(text.as_bytes()))
    }
}

/// Characters of a name of a file that every file system takes.
const LONGEST_NAME: usize = 160;
/// Bytes of a table at most.
const MOST_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> Option<Machine> {
    let size = std::fs::metadata(path).ok()?.len();
    let text = (size <= MOST_BYTES).then(|| std::fs::read(path).ok())??;
    let machine: Machine = serde_json::from_slice(&text).ok()?;
    machine.is_sound().then_some(machine)
}

/// A file of this name in the part of the user's cache folder that is ours.
pub(crate) fn cache_file(name: &str) -> Option<PathBuf> {
    folder().map(|folder| folder.join("modelpress").join(name))
}

/// The user's cache folder.
fn folder() -> Option<PathBuf> {
    let variable = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let home = |below: &str| variable("HOME").map(|home| home.join(below));
    let below = if cfg!(target_os = "macos") {
        "Library/Caches"
    } else {
        ".cache"
    };
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .or_else(|| home(below))
}

/// The name of the processor, as the system gives it.
pub(crate) fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()));
    name.or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::machine;
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_kept_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine();
        let path = folder.path().join("deep/er").join(machine.file_name());
        machine.keep(&path).unwrap();
        assert_eq!(read(&path), Some(machine.clone()));
        let text = std::fs::read_to_string(&path).unwrap();
        for damaged in [
            &text[..text.len() / 2],
            "",
            "[]",
            &text.replace("1000000000.0", "-1.0"),
        ] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path), None, "{damaged}");
        }
        assert_eq!(read(folder.path()), None);
    }

    #[test]
    fn names_of_files_are_plain() {
        let mut machine = machine();
        machine.cpu = "A(R) / B: \u{b5} ".repeat(40);
        let name = machine.file_name();
        assert!(name.len() < 200 && name.is_ascii(), "{name}");
        assert!(!name.contains(['/', ':', ' ', '(']), "{name}");
    }
}
