//! Files that are either written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file through `write` into a temporary sibling and renames it to `path` at the end.
///
/// A reader of `path` sees the old content or the new one, never a part. If `write` fails, the
/// temporary file is removed and `path` stays as it was. The content reaches the disk before the
/// name does. `write` may seek in the file and read back what it wrote.
///
/// A link is followed: the file that it leads to is replaced. What is no regular file, as a terminal or `/dev/null`,
/// is written to directly.
///
/// # Errors
/// Those of the file system, and those of `write`.
///
/// # Examples
/// ```
/// use std::io::Write;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("report.txt");
/// compress_tensor::write_atomically(&path, |file| file.write_all(b"whole or nothing"))?;
/// assert_eq!(std::fs::read(&path)?, b"whole or nothing");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_atomically<T, E: From<io::Error>>(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, E>,
) -> Result<T, E> {
    let path = path.as_ref();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
        }
        Ok(found) if !found.is_file() => {
            let mut writer = BufWriter::new(OpenOptions::new().write(true).open(path)?);
            let written = write(&mut writer)?;
            writer.flush()?;
            return Ok(written);
        }
        _ => {}
    }
    let path = link_target(path)?;
    let (file, temporary) = create_sibling(&path)?;
    let mut writer = BufWriter::new(file);
    let written = write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    drop(writer);
    fs::rename(&temporary.0, path)?;
    Ok(written)
}

/// Where a link leads, through all further ones, also to what is not there yet.
fn link_target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.with_file_name("").join(target),
            Err(_) => return Ok(path), // No link.
        }
    }
    Err(io::Error::other("too many links lead on from one another"))
}

/// Links that are followed, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// A file name that is removed when the value is dropped, unless it has been renamed by then.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove, which is the usual case.
        let _ = fs::remove_file(&self.0);
    }
}

fn create_sibling(path: &Path) -> io::Result<(File, Temporary)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    loop {
        let mut sibling = std::ffi::OsString::from(".");
        sibling.push(name);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        sibling.push(format!(".{}-{n}.tmp", std::process::id()));
        let temporary = path.with_file_name(sibling);
        match OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&temporary)
        {
            Ok(file) => return Ok((file, Temporary(temporary))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_no_sibling() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        fs::write(&path, b"old").unwrap();
        let n: Result<usize, io::Error> = write_atomically(&path, |f| {
            f.write_all(b"new")?;
            Ok(3)
        });
        assert_eq!(n.unwrap(), 3);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.bin"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_sibling() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        fs::write(&path, b"old").unwrap();
        let failed: io::Result<()> = write_atomically(&path, |f| {
            f.write_all(b"half")?;
            Err(io::Error::other("stopped"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "stopped");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.bin"]);
    }

    #[test]
    fn a_path_without_a_file_name_is_refused() {
        let error = write_atomically("absent/..", |_| Ok::<(), io::Error>(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_folder_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomically(dir.path(), |_| -> io::Result<()> { unreachable!() });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_stay() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        let link = dir.path().join("link");
        symlink("second", &link).unwrap();
        symlink("real/a.bin", dir.path().join("second")).unwrap();
        for content in [b"absent before", b"there by then"] {
            let written: io::Result<()> = write_atomically(&link, |f| f.write_all(content));
            written.unwrap();
            assert_eq!(fs::read(dir.path().join("real/a.bin")).unwrap(), content);
            assert!(link.is_symlink());
        }
        assert_eq!(names(&dir.path().join("real")), ["a.bin"]);
        let turning = dir.path().join("turning");
        symlink("turning", &turning).unwrap();
        assert!(write_atomically(&turning, |_| Ok::<(), io::Error>(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_stays_one() {
        use std::os::unix::fs::FileTypeExt;
        let written: io::Result<()> = write_atomically("/dev/null", |f| f.write_all(b"gone"));
        written.unwrap();
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
    }

    #[test]
    fn a_missing_folder_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent").join("a.bin");
        let error = write_atomically(&path, |_| Ok::<(), io::Error>(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
