//! The arrays that a model is fed.

use std::path::Path;

use compress_tensor::{Tensor, npy};

use crate::Refusal;

/// The arrays of a folder by the names of their files, in alphabetic order.
pub(crate) fn read(folder: &Path) -> Result<Vec<(String, Tensor)>, Refusal> {
    let mut arrays = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "npy") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            arrays.push((name.into_owned(), npy::read(&path)?));
        }
    }
    arrays.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(arrays)
}

/// The array of an input, taken out of `arrays`.
pub(crate) fn take(arrays: &mut Vec<(String, Tensor)>, name: &str) -> Result<Tensor, Refusal> {
    let found = arrays.iter().position(|(array, _)| array == name);
    let found = found.ok_or_else(|| format!("no array for its input {name:?}"))?;
    Ok(arrays.swap_remove(found).1)
}
