//! Measured choices in a file.
//!
//! One JSON file holds the choices of any number of machines and models: a table per [`Host`], in it an entry per [key of a
//! step](super::key). A file that is none of ours is never written over.

use super::host::Host;
use compress_tensor::write_atomically;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// What was measured of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The way that the rule takes, and its least time.
    pub(super) rule: String,
    pub(super) rule_seconds: f64,
    /// The way that is taken, and its least time.
    pub(super) chosen: String,
    pub(super) seconds: f64,
}

/// Entries by the keys of steps.
pub(super) type Table = BTreeMap<String, Entry>;

/// What the file says it is.
const FORMAT: &str = "modelpress-autotune-1";
/// Bytes of a file at most.
const MOST_BYTES: u64 = 64 << 20;
/// Tables of a file at most; those of the machines that wrote first are dropped.
const MOST_HOSTS: usize = 64;

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    hosts: Vec<HostTable>,
}

#[derive(Serialize, Deserialize)]
struct HostTable {
    host: Host,
    steps: Table,
}

/// The entries that a file holds for a host; none where there is no file.
///
/// # Errors
/// Why the file cannot be used.
pub(super) fn read(path: &Path, host: &Host) -> io::Result<Table> {
    let mut file = load(path)?;
    let found = file.hosts.iter().position(|table| table.host == *host);
    Ok(found.map_or_else(Table::new, |at| file.hosts.swap_remove(at).steps))
}

/// Adds entries to those that the file holds now: other processes write it too.
///
/// # Errors
/// Why the file cannot be used or written.
pub(super) fn add(path: &Path, host: &Host, new: &Table) -> io::Result<()> {
    let mut file = load(path)?;
    let at = file.hosts.iter().position(|table| table.host == *host);
    let mut own = match at {
        Some(at) => file.hosts.remove(at),
        None => HostTable {
            host: host.clone(),
            steps: Table::new(),
        },
    };
    own.steps
        .extend(new.iter().map(|(key, entry)| (key.clone(), entry.clone())));
    file.hosts.push(own);
    let surplus = file.hosts.len().saturating_sub(MOST_HOSTS);
    file.hosts.drain(..surplus);
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&file).map_err(io::Error::from)?;
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}

/// The file, or an empty one where there is none.
fn load(path: &Path) -> io::Result<File> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let size = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(File {
                format: FORMAT.to_owned(),
                hosts: Vec::new(),
            });
        }
        metadata => metadata?.len(),
    };
    if size > MOST_BYTES {
        return Err(invalid(format!(
            "it has {size} bytes, more than {MOST_BYTES}"
        )));
    }
    let file: File = serde_json::from_slice(&std::fs::read(path)?)
        .map_err(|error| invalid(format!("it is no cache of choices: {error}")))?;
    if file.format != FORMAT {
        return Err(invalid(format!("it is `{}`, not `{FORMAT}`", file.format)));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime_kernels::Context;

    fn entry(chosen: &str) -> Entry {
        Entry {
            rule: "direct".into(),
            rule_seconds: 2e-3,
            chosen: chosen.into(),
            seconds: 1e-3,
        }
    }

    fn host(name: &str) -> Host {
        let mut value = serde_json::to_value(Host::of(&Context::default())).unwrap();
        value["cpu"] = name.into();
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_host_finds_its_own_entries_and_keeps_those_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/choices.json");
        let (a, b) = (host("a"), host("b"));
        assert_eq!(read(&path, &a).unwrap(), Table::new());
        let table = |key: &str, way: &str| Table::from([(key.to_owned(), entry(way))]);
        add(&path, &a, &table("x", "winograd4")).unwrap();
        assert_eq!(read(&path, &b).unwrap(), Table::new());
        add(&path, &b, &table("x", "fft16x16")).unwrap();
        add(&path, &a, &table("y", "direct")).unwrap();
        let of_a = read(&path, &a).unwrap();
        assert_eq!(
            (of_a.len(), &of_a["x"], &of_a["y"]),
            (2, &entry("winograd4"), &entry("direct"))
        );
        assert_eq!(read(&path, &b).unwrap(), table("x", "fft16x16"));
    }

    #[test]
    fn what_is_no_cache_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("choices.json");
        let a = host("a");
        add(&path, &a, &Table::from([("x".to_owned(), entry("direct"))])).unwrap();
        let sound = std::fs::read_to_string(&path).unwrap();
        for foreign in [
            "",
            "{}",
            "[1, 2]",
            &sound[..sound.len() / 2],
            &sound.replace(FORMAT, "another-1"),
            &sound.replace("\"seconds\": 0.001", "\"seconds\": \"soon\""),
        ] {
            std::fs::write(&path, foreign).unwrap();
            assert!(read(&path, &a).is_err(), "{foreign}");
            assert!(add(&path, &a, &Table::new()).is_err(), "{foreign}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        }
        assert!(read(folder.path(), &a).is_err());
    }
}
