//! External data: tensors whose bytes lie in files beside the model.
//!
//! <https://onnx.ai/onnx/repo-docs/ExternalData.html>. The location comes out of an untrusted
//! file: it must be a relative path of plain names, and after all links are followed the file
//! must still lie within the model's folder. Checksums are not looked at.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use compress_tensor::map_file;

use super::error::ExternalDataError;
use crate::proto::StringStringEntryProto;

/// The data files of one model, each mapped once.
#[derive(Debug, Default)]
pub(super) struct ExternalFiles {
    folder: Option<PathBuf>,
    maps: HashMap<String, (PathBuf, Bytes)>,
}

impl ExternalFiles {
    /// Files are looked for in `folder`; without one, external data is an error.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(Path::to_path_buf),
            maps: HashMap::new(),
        }
    }

    /// The `expected` bytes that `entries` (`location`, `offset`, `length`) point at.
    pub(super) fn read(
        &mut self,
        entries: &[StringStringEntryProto],
        expected: usize,
    ) -> Result<Bytes, ExternalDataError> {
        let location = entry(entries, "location").filter(|location| !location.is_empty());
        let location = location.ok_or(ExternalDataError::NoLocation)?;
        let offset = number(entries, "offset")?.unwrap_or(0);
        let length = number(entries, "length")?.unwrap_or(expected as u64);
        if length != expected as u64 {
            return Err(ExternalDataError::WrongLength {
                expected,
                found: length,
            });
        }
        let file = self.map(location)?;
        let out_of_bounds = || ExternalDataError::OutOfBounds {
            location: location.to_owned(),
            offset,
            length: expected,
            file_length: file.len(),
        };
        let start = usize::try_from(offset).map_err(|_| out_of_bounds())?;
        let end = start.checked_add(expected).filter(|&end| end <= file.len());
        Ok(file.slice(start..end.ok_or_else(out_of_bounds)?))
    }

    /// The real paths of the files that were read.
    pub(super) fn into_paths(self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self.maps.into_values().map(|(path, _)| path).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    fn map(&mut self, location: &str) -> Result<Bytes, ExternalDataError> {
        if let Some((_, map)) = self.maps.get(location) {
            return Ok(map.clone());
        }
        let folder = self.folder.as_deref();
        let folder = folder.ok_or_else(|| ExternalDataError::NoFolder {
            location: location.to_owned(),
        })?;
        let path = within(folder, location)?;
        let map = map_file(&path).map_err(file_error(location))?;
        let entry = (path, map.clone());
        self.maps.insert(location.to_owned(), entry);
        Ok(map)
    }
}

/// The path of `location`, all links followed, if it lies within `folder`.
fn within(folder: &Path, location: &str) -> Result<PathBuf, ExternalDataError> {
    let outside = || ExternalDataError::OutsideFolder {
        location: location.to_owned(),
    };
    let relative = Path::new(location);
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(plain) {
        return Err(outside());
    }
    let folder = folder.canonicalize().map_err(file_error(location))?;
    let path = folder
        .join(relative)
        .canonicalize()
        .map_err(file_error(location))?;
    if path.starts_with(&folder) {
        Ok(path)
    } else {
        Err(outside())
    }
}

fn file_error(location: &str) -> impl Fn(std::io::Error) -> ExternalDataError {
    move |source| ExternalDataError::File {
        location: location.to_owned(),
        source,
    }
}

fn entry<'a>(entries: &'a [StringStringEntryProto], key: &str) -> Option<&'a str> {
    entries
        .iter()
        .find(|entry| entry.key() == key)
        .map(StringStringEntryProto::value)
}

fn number(
    entries: &[StringStringEntryProto],
    key: &'static str,
) -> Result<Option<u64>, ExternalDataError> {
    let Some(value) = entry(entries, key) else {
        return Ok(None);
    };
    let number = value.parse();
    number.map(Some).map_err(|_| ExternalDataError::NotANumber {
        key,
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Vec<StringStringEntryProto> {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        pairs.iter().map(entry).collect()
    }

    fn folder_with_data() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("w.bin"), [1u8, 2, 3, 4, 5, 6, 7, 8]).expect("written");
        folder
    }

    #[test]
    fn offset_and_length_cut_the_bytes_out() {
        let folder = folder_with_data();
        let mut files = ExternalFiles::new(Some(folder.path()));
        let read = files.read(
            &entries(&[("location", "w.bin"), ("offset", "2"), ("length", "3")]),
            3,
        );
        assert_eq!(read.expect("within").as_ref(), [3, 4, 5]);
        let read = files.read(&entries(&[("location", "./w.bin")]), 8);
        assert_eq!(read.expect("the whole file").len(), 8);
    }

    #[test]
    fn data_behind_the_end_is_refused_with_its_numbers() {
        let folder = folder_with_data();
        let mut files = ExternalFiles::new(Some(folder.path()));
        for (offset, length) in [("6", 4), ("18446744073709551615", 4), ("9", 0)] {
            let error = files.read(
                &entries(&[("location", "w.bin"), ("offset", offset)]),
                length,
            );
            let error = error.expect_err("behind the end");
            assert!(
                matches!(error, ExternalDataError::OutOfBounds { file_length: 8, .. }),
                "{error}"
            );
        }
        let error = files.read(&entries(&[("location", "w.bin"), ("length", "7")]), 8);
        let error = error.expect_err("another length");
        assert!(matches!(
            error,
            ExternalDataError::WrongLength {
                expected: 8,
                found: 7
            }
        ));
        let error = files.read(&entries(&[("location", "w.bin"), ("offset", "-1")]), 8);
        assert!(matches!(
            error,
            Err(ExternalDataError::NotANumber { key: "offset", .. })
        ));
    }

    #[test]
    fn no_location_leads_out_of_the_folder() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("model");
        std::fs::create_dir(&folder).expect("made");
        let secret = parent.path().join("secret.bin");
        std::fs::write(&secret, [0u8; 8]).expect("written");
        let absolute = secret.to_string_lossy().into_owned();
        let mut files = ExternalFiles::new(Some(&folder));
        for location in ["../secret.bin", "a/../../secret.bin", absolute.as_str()] {
            let error = files.read(&entries(&[("location", location)]), 8);
            assert!(
                matches!(error, Err(ExternalDataError::OutsideFolder { .. })),
                "{location}"
            );
        }
        let error = files.read(&entries(&[("location", "absent.bin")]), 8);
        assert!(matches!(error, Err(ExternalDataError::File { .. })));
        assert!(matches!(
            files.read(&entries(&[]), 8),
            Err(ExternalDataError::NoLocation)
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("model");
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(parent.path().join("secret.bin"), [0u8; 8]).expect("written");
        std::os::unix::fs::symlink("../secret.bin", folder.join("w.bin")).expect("linked");
        std::os::unix::fs::symlink("..", folder.join("up")).expect("linked");
        let mut files = ExternalFiles::new(Some(&folder));
        for location in ["w.bin", "up/secret.bin"] {
            let error = files.read(&entries(&[("location", location)]), 8);
            assert!(
                matches!(error, Err(ExternalDataError::OutsideFolder { .. })),
                "{location}"
            );
        }
    }

    #[test]
    fn a_model_from_memory_has_no_external_data() {
        let error = ExternalFiles::new(None).read(&entries(&[("location", "w.bin")]), 8);
        assert!(matches!(error, Err(ExternalDataError::NoFolder { .. })));
    }
}
