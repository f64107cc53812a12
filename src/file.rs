//! Files that are read within bounds.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} is not text", path.display())]
    NotText { path: PathBuf },
    /// ssh refuses such a key as well.
    #[error(
        "the private key {0} is open to other users (mode {mode:04o}): run `chmod 600 {0}`",
        path.display()
    )]
    Loose { path: PathBuf, mode: u32 },
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
}

/// Reads all of `source`, which has at most `limit` bytes; errors name `path`.
///
/// # Errors
/// If `source` fails, or goes on after `limit` bytes.
pub fn read_from(source: impl Read, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::new());
    source
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read {
            path: path.into(),
            source,
        })?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge {
            path: path.into(),
            limit,
        });
    }
    Ok(bytes)
}

/// Reads a file of at most `limit` bytes. It may be a FIFO, such as that of `<(command)` in a
/// shell, which blocks until something writes to it: call this before signals are caught.
///
/// # Errors
/// If the file cannot be read, or is larger.
pub fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    read_from(open(path)?, path, limit)
}

/// Opens a file to read it.
///
/// # Errors
/// If it cannot be opened.
pub fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_fifo_is_read_and_what_has_no_end_is_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let mkfifo = Command::new("mkfifo").arg("-m600").arg(&fifo).status();
        assert!(mkfifo.unwrap().success());
        let writer = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::write(fifo, "key")
        });
        assert_eq!(**read(&fifo, 3).unwrap(), *b"key");
        writer.join().unwrap().unwrap();

        let endless = read(Path::new("/dev/zero"), 1000);
        assert!(matches!(endless, Err(Error::TooLarge { limit: 1000, .. })));
        for path in [folder.path(), &folder.path().join("missing")] {
            assert!(matches!(read(path, 10), Err(Error::Read { .. })));
        }
    }

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for (size, is_read) in [(100, true), (101, false)] {
            fs::write(&path, vec![b'x'; size]).unwrap();
            assert_eq!(read(&path, 100).is_ok(), is_read, "{size} bytes");
        }
    }
}
