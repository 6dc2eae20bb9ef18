//! Memory-mapped files: the one place of the crate with `unsafe` code.

use bytes::Bytes;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The files that are mapped at present, to tell mapped bytes from others.
static MAPS: Mutex<Vec<Weak<memmap2::Mmap>>> = Mutex::new(Vec::new());

/// A mapping that its bytes keep alive.
struct Owner(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

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
    let map = Arc::new(map);
    let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    maps.retain(|map| map.strong_count() > 0);
    maps.push(Arc::downgrade(&map));
    Ok(Bytes::from_owner(Owner(map)))
}

/// Gives the physical memory behind bytes of a file that [`map_file`] mapped back to the operating system.
///
/// The bytes stay readable: the next access reads them from the file again. For bytes that are not of such a file,
/// and where the operating system has no such call, nothing happens.
pub(crate) fn release_pages(bytes: &[u8]) {
    let start = bytes.as_ptr().addr();
    let maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    for map in maps.iter().filter_map(Weak::upgrade) {
        let Some(offset) = start.checked_sub(map.as_ptr().addr()) else {
            continue;
        };
        if offset < map.len() && bytes.len() <= map.len() - offset {
            advise_unneeded(&map, offset, bytes.len());
            return;
        }
    }
}

#[cfg(unix)]
fn advise_unneeded(map: &memmap2::Mmap, offset: usize, len: usize) {
    use memmap2::UncheckedAdvice::DontNeed;
    #[expect(
        unsafe_code,
        reason = "dropping pages is unsafe for maps that were written to"
    )]
    // SAFETY: the map is read-only, so that no page differs from the file: a page that is dropped is read from the
    // file again at the next access, with the same bytes.
    let advised = unsafe { map.unchecked_advise_range(DontNeed, offset, len) };
    // Only memory is at stake: without the advice the pages stay until the system needs them.
    drop(advised);
}

#[cfg(not(unix))]
fn advise_unneeded(_: &memmap2::Mmap, _: usize, _: usize) {}

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
    fn released_pages_read_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.bin");
        let data: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &data).unwrap();
        let bytes = map_file(&path).unwrap();
        assert_eq!(bytes[70_000], data[70_000]);
        release_pages(&bytes[5000..90_000]);
        assert!(bytes == data);
        // Bytes of no file stay as they are.
        release_pages(&data);
        assert_eq!(data[99_999], bytes[99_999]);
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
