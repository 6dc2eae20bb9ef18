//! Memory-mapped files: the one place of the crate with `unsafe` code.

use bytes::Bytes;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Maps a regular file for reading; an empty file gives empty bytes.
///
/// The mapping lives as long as any clone or slice of the result. The file must not be shortened
/// by others while it is mapped: the operating system then stops the process at the next access to
/// the lost pages. Replacing the file by renaming another over it, as
/// [`write_atomically`](crate::write_atomically) does, is harmless.
///
/// # Errors
/// Those of opening and mapping; [`io::ErrorKind::InvalidInput`] for what is not a regular file
/// (a folder, a pipe), before it is opened.
pub fn map_file(path: impl AsRef<Path>) -> io::Result<Bytes> {
    let path = path.as_ref();
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    #[expect(
        unsafe_code,
        reason = "mapping a file cannot be expressed safely: others may change it"
    )]
    // SAFETY: the mapping is private and read-only, and the documentation of this function makes
    // it the caller's duty that nobody shortens or rewrites the file in place while it lives.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_reads_as_its_bytes_and_outlives_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.bin");
        fs::write(&path, [1, 2, 3, 4]).unwrap();
        let bytes = map_file(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let tail = bytes.slice(2..);
        drop(bytes);
        assert_eq!(tail.as_ref(), [3, 4]);
    }

    #[test]
    fn an_empty_file_gives_empty_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty.bin");
        fs::write(&path, []).unwrap();
        assert_eq!(map_file(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = map_file(dir.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_missing_file_is_reported_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let error = map_file(dir.path().join("absent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
