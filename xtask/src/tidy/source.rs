//! Rules on the source files themselves.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::process::Error;
use crate::workspace;

const LONGEST_FILE: usize = 600;

/// File names that say nothing of what is inside.
const VAGUE: &[&str] = &["utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs"];

/// Folders and files in which `unsafe` may stand: the instruction sets, the lending of a job and the
/// cutting of a result into tiles for threads, the memory map, and the calls of peers in benches.
const UNSAFE_PLACES: &[&str] = &[
    "benches/benches/",
    "crates/compress-tensor/src/mmap.rs",
    "crates/runtime-kernels/src/isa/",
    "crates/runtime-kernels/src/threads/pool.rs",
    "crates/runtime-kernels/src/threads/tile.rs",
];

/// Each crate forbids `unsafe` unless it has a place for it, and libraries deny missing docs.
pub(super) fn lib_attributes() -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for file in rust_files()? {
        let in_src = file
            .name
            .strip_prefix("crates/")
            .and_then(|name| name.split_once("/src/"));
        let Some((crate_, root @ ("lib.rs" | "main.rs"))) = in_src else {
            continue;
        };
        let folder = format!("crates/{crate_}/");
        let has_place = UNSAFE_PLACES.iter().any(|place| place.starts_with(&folder));
        let wanted = [
            ("forbid", "unsafe_code", !has_place),
            ("deny", "missing_docs", root == "lib.rs"),
        ];
        for (level, lint, _) in wanted.iter().filter(|(.., is_wanted)| *is_wanted) {
            if !states(&file.text, level, lint) {
                findings.push(format!("{} does not state #![{level}({lint})]", file.name));
            }
        }
    }
    Ok(findings)
}

/// Whether a text has `#![level(lint)]`, alone or among others.
fn states(text: &str, level: &str, lint: &str) -> bool {
    let lists = text.lines().filter_map(|line| {
        let list = line.trim().strip_prefix("#![")?.strip_prefix(level)?;
        list.strip_prefix('(')?.strip_suffix(")]")
    });
    lists
        .flat_map(|list| list.split(','))
        .any(|stated| stated.trim() == lint)
}

/// `unsafe` outside of the agreed places.
pub(super) fn unsafe_places() -> Result<Vec<Finding>, Error> {
    let agreed = |file: &Source| {
        UNSAFE_PLACES
            .iter()
            .any(|place| file.name.starts_with(place))
    };
    lines(
        |file, line| !agreed(file) && uses_unsafe(line),
        "unsafe code outside of its places",
    )
}

/// Files of more than [`LONGEST_FILE`] lines that were not generated.
pub(super) fn long_files() -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for file in rust_files()? {
        let count = file.text.lines().count();
        if count > LONGEST_FILE && !file.text.starts_with("// @generated") {
            findings.push(format!(
                "{} has {count} lines: find where it divides",
                file.name
            ));
        }
    }
    Ok(findings)
}

/// `allow` or `expect` attributes that do not say why.
pub(super) fn allows_without_reason() -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for file in rust_files()? {
        for (number, attribute) in lint_attributes(&file.text) {
            if !attribute.contains("reason") {
                findings.push(format!("{}:{number}: {attribute} has no reason", file.name));
            }
        }
    }
    Ok(findings)
}

/// File names that say nothing of what is inside.
pub(super) fn vague_names() -> Result<Vec<Finding>, Error> {
    let vague = |file: &Source| {
        VAGUE
            .iter()
            .any(|name| file.name.ends_with(&format!("/{name}")))
    };
    let files = rust_files()?;
    let files = files.iter().filter(|file| vague(file));
    Ok(files
        .map(|file| format!("{}: name what is inside", file.name))
        .collect())
}

/// A source file: its path from the root, with `/`, and its text.
struct Source {
    name: String,
    text: String,
}

fn lines(is_wrong: impl Fn(&Source, &str) -> bool, what: &str) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for file in rust_files()? {
        for (index, line) in file.text.lines().enumerate() {
            if is_wrong(&file, line) {
                findings.push(format!("{}:{}: {what}", file.name, index + 1));
            }
        }
    }
    Ok(findings)
}

/// Whether the line opens an unsafe block, function, implementation or trait.
fn uses_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let forms = ["{", "fn", "impl", "trait", "extern"].map(|form| format!("unsafe {form}"));
    let in_text = |at: usize| code[..at].matches('"').count() % 2 == 1;
    forms
        .iter()
        .any(|form| code.find(form.as_str()).is_some_and(|at| !in_text(at)))
}

/// The `allow` and `expect` attributes of a text, each with the number of its first line.
fn lint_attributes(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut offset = 0;
    for (index, line) in text.lines().enumerate() {
        let indented = line.len() - line.trim_start().len();
        let start = offset + indented;
        let opens = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
        if let Some(rest) = text.get(start..)
            && opens.iter().any(|open| rest.starts_with(open))
        {
            let end = rest.find(")]").map_or(rest.len(), |end| end + 2);
            found.push((index + 1, &rest[..end]));
        }
        offset += line.len() + 1;
    }
    found
}

fn rust_files() -> Result<Vec<Source>, Error> {
    let root = workspace::root();
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "benches", "fuzz", "examples"] {
        let folder = root.join(folder);
        if folder.is_dir() {
            collect(&root, &folder, &mut files)?;
        }
    }
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<Source>) -> Result<(), Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file(folder))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Error::file(folder))?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if path
                .file_name()
                .is_some_and(|name| name != "target" && name != "corpus")
            {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .replace('\\', "/");
            files.push(Source { name, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_told_from_its_mention() {
        assert!(uses_unsafe("    unsafe { read(p) }"));
        assert!(uses_unsafe("pub unsafe fn f() {}"));
        assert!(!uses_unsafe("#![forbid(unsafe_code)]"));
        assert!(!uses_unsafe("// an unsafe { block"));
    }

    #[test]
    fn lints_are_found_alone_and_among_others() {
        let text = "//! x\n#![deny(missing_docs, unsafe_code)]\n#![forbid(unused)]\n";
        assert!(states(text, "deny", "missing_docs") && states(text, "forbid", "unused"));
        assert!(!states(text, "forbid", "missing_docs") && !states(text, "deny", "docs"));
    }

    #[test]
    fn attributes_over_several_lines_are_read_to_their_end() {
        let text =
            "fn a() {}\n    #[allow(\n    dead_code,\n    reason = \"x\"\n)]\n#[allow(unused)]\n";
        let found = lint_attributes(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, 2);
        assert!(found[0].1.ends_with("reason = \"x\"\n)]"));
        assert_eq!(found[1], (6, "#[allow(unused)]"));
    }
}
