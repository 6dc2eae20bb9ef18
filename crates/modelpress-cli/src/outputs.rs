//! What a verb writes must replace nothing that it reads, and must have a place before the work begins.

use crate::error::{Error, Usage};
use modelpress::data::{InputSpec, Source};
use std::io;
use std::path::{Path, PathBuf};

/// Refuses outputs without a folder to stand in or that no file can be made in, and outputs that are one file with an input or with each other.
pub(crate) fn check_outputs<'p>(
    inputs: impl IntoIterator<Item = &'p Path>,
    outputs: &[&Path],
) -> Result<(), Error> {
    let inputs: Vec<PathBuf> = inputs.into_iter().filter_map(place).collect();
    let mut places: Vec<PathBuf> = Vec::new();
    for &output in outputs {
        match output.metadata() {
            Ok(found) if found.is_dir() => {
                let is_folder = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(Error::file(output)(is_folder));
            }
            // A device or a pipe is not replaced.
            Ok(found) if !found.is_file() => continue,
            _ => {}
        }
        let place = place(output).ok_or_else(|| {
            let folder = output.parent().unwrap_or(output);
            let missing = io::Error::new(io::ErrorKind::NotFound, "there is no such folder");
            Error::file(folder)(missing)
        })?;
        can_be_written(&place).map_err(Error::file(output))?;
        let path = output.to_owned();
        if inputs.contains(&place) {
            return Err(Usage::SameFile { path }.into());
        }
        if places.contains(&place) {
            return Err(Usage::WrittenTwice { path }.into());
        }
        places.push(place);
    }
    Ok(())
}

/// Makes a file beside the place and takes it away again: what is written goes to a file beside it first.
fn can_be_written(place: &Path) -> io::Result<()> {
    let name = format!(".modelpress-{}.probe", std::process::id());
    let probe = place.with_file_name(name);
    std::fs::File::create(&probe)?;
    std::fs::remove_file(probe)
}

/// Refuses to write a model under a name that says another format.
pub(crate) fn check_is_onnx(output: &Path) -> Result<(), Error> {
    let suffix = output.extension().unwrap_or_default();
    let is_other = |other: &&str| suffix.eq_ignore_ascii_case(other);
    match ["tflite", "engine", "plan", "trt"].iter().any(is_other) {
        true => Err(Usage::NotOnnx {
            path: output.to_owned(),
        }
        .into()),
        false => Ok(()),
    }
}

/// The files that feed inputs.
pub(crate) fn files_of(inputs: &[InputSpec]) -> impl Iterator<Item = &Path> {
    inputs.iter().filter_map(|input| match &input.source {
        Source::File(path) => Some(path.as_path()),
        _ => None,
    })
}

/// The file behind all links, or where it would be; `None` where there is no folder for it.
pub(crate) fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(found) = path.canonicalize() {
        return Some(found);
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}
