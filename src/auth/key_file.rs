//! Files with secrets in them: read within bounds, written whole and for their owner alone.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use secrecy::zeroize::Zeroizing;
use tempfile::NamedTempFile;

use crate::auth::Error;

/// A private key of 16384 bits is 13 KiB of PEM.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a file that anybody may read.
pub(super) fn read_public(path: &Path) -> Result<String, Error> {
    let bytes = read_bounded(open(path)?, path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a file that only its owner may read, and refuses it when others could have.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, Error> {
    let file = open(path)?;
    refuse_loose(&file, path)?;
    let bytes = read_bounded(file, path)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a new file with mode 0600; one that is there already is left alone.
pub(super) fn create(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.into() },
        _ => Error::Write {
            path: path.into(),
            source,
        },
    };
    let file = write_beside(path, text).map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|refused| failed(refused.error))?;
    Ok(())
}

/// Writes a file with mode 0600 in place of the one that may be there.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    // The new file takes the name of the old one, which must not happen to a device or a link.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::NotAFile { path: path.into() });
    }
    let failed = |source| Error::Write {
        path: path.into(),
        source,
    };
    let file = write_beside(path, text).map_err(failed)?;
    file.persist(path)
        .map_err(|refused| failed(refused.error))?;
    Ok(())
}

/// Makes a folder, and those above it, with mode 0700; folders that are there are left alone.
pub(super) fn create_folder(path: &Path) -> Result<(), Error> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    match owner_only_folder(path) {
        // Another process was faster.
        Err(_) if path.is_dir() => Ok(()),
        Err(source) => Err(Error::Write {
            path: path.into(),
            source,
        }),
        Ok(()) => Ok(()),
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Read {
        path: path.into(),
        source,
    };
    // Looked at before it is opened: opening a FIFO waits until somebody writes to it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::NotAFile { path: path.into() });
    }
    File::open(path).map_err(failed)
}

fn read_bounded(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read {
            path: path.into(),
            source,
        })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

/// A complete file under another name in the same folder, so that giving it its name is atomic.
fn write_beside(path: &Path, text: &str) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(folder)?;
    // The umask may have taken the owner's own permissions as well.
    #[cfg(unix)]
    file.as_file().set_permissions(unix::mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(unix)]
use unix::{owner_only_folder, refuse_loose};

#[cfg(unix)]
mod unix {
    use std::fs::{self, DirBuilder, File, Permissions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    use std::path::Path;

    use crate::auth::Error;

    pub(super) fn mode(mode: u32) -> Permissions {
        Permissions::from_mode(mode)
    }

    pub(super) fn refuse_loose(file: &File, path: &Path) -> Result<(), Error> {
        let found = file.metadata().map_err(|source| Error::Read {
            path: path.into(),
            source,
        })?;
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Loose {
                path: path.into(),
                mode,
            });
        }
        Ok(())
    }

    pub(super) fn owner_only_folder(path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)?;
        fs::set_permissions(path, mode(0o700))
    }
}

#[cfg(not(unix))]
use elsewhere::{owner_only_folder, refuse_loose};

/// Elsewhere a file takes its access list from the folder it is in.
#[cfg(not(unix))]
mod elsewhere {
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;

    use crate::auth::Error;

    pub(super) fn refuse_loose(_: &File, _: &Path) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn owner_only_folder(path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");

        create(&path, "key").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "key");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(names_in(folder.path()), ["key.pem"]);
    }

    #[test]
    fn a_file_that_is_there_is_kept_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, unix::mode(0o644)).unwrap();

        assert!(matches!(create(&path, "new"), Err(Error::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names_in(folder.path()), ["key.pem"]);

        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(mode_of(&path), 0o600);
    }

    #[test]
    fn a_link_a_folder_or_a_device_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let link = folder.path().join("link");
        fs::write(&target, "old").unwrap();
        symlink(&target, &link).unwrap();

        for path in [link.as_path(), folder.path(), Path::new("/dev/null")] {
            assert!(matches!(replace(path, "new"), Err(Error::NotAFile { .. })));
            assert!(matches!(create(path, "new"), Err(Error::Exists { .. })));
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    }

    #[test]
    fn a_file_in_no_folder_is_an_error_that_names_it() {
        for folder in ["/nowhere", "/proc", "/dev/null"] {
            let path = Path::new(folder).join("key.pem");
            for written in [create(&path, "key"), replace(&path, "key")] {
                assert_eq!(
                    written.unwrap_err().to_string(),
                    format!("{folder}/key.pem cannot be written")
                );
            }
        }
    }

    #[test]
    fn folders_are_made_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), unix::mode(0o755)).unwrap();
        let (above, below) = (folder.path().join("a"), folder.path().join("a/b"));

        create_folder(&below).unwrap();
        create_folder(&below).unwrap();

        assert_eq!(mode_of(&above), 0o700);
        assert_eq!(mode_of(&below), 0o700);
        assert_eq!(mode_of(folder.path()), 0o755);
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );

        for path in [folder.path(), Path::new("/dev/zero"), fifo.as_path()] {
            assert!(matches!(read_public(path), Err(Error::NotAFile { .. })));
            assert!(matches!(read_private(path), Err(Error::NotAFile { .. })));
        }
        let missing = folder.path().join("missing");
        assert!(matches!(read_public(&missing), Err(Error::Read { .. })));
    }

    #[test]
    fn a_file_is_read_up_to_64_kib() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for (size, read) in [(MAX_BYTES as usize, true), (MAX_BYTES as usize + 1, false)] {
            fs::write(&path, vec![b'x'; size]).unwrap();
            assert_eq!(read_public(&path).is_ok(), read, "{size} bytes");
        }
    }

    #[test]
    fn a_private_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let link = folder.path().join("link.pem");
        fs::write(&path, "key").unwrap();
        symlink(&path, &link).unwrap();

        for (mode, read) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o644, false),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&path, unix::mode(mode)).unwrap();
            for path in [&path, &link] {
                assert_eq!(read_private(path).is_ok(), read, "{mode:o}");
                assert!(read_public(path).is_ok());
            }
        }
        assert_eq!(
            read_private(&path).unwrap_err().to_string(),
            format!(
                "the private key {0} is open to other users (mode 0620): run `chmod 600 {0}`",
                path.display()
            )
        );
    }
}
