//! Files with mode 0600, written atomically.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use secrecy::zeroize::Zeroizing;
use tempfile::NamedTempFile;

use crate::file::{self, Error};

/// Reads a file as [`file::read`] does, and refuses one that other users could read.
///
/// # Errors
/// If other users have access to the file, or as [`file::read`].
pub fn read_private(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    let file = file::open(path)?;
    refuse_loose(&file, path)?;
    file::read_from(file, path, limit)
}

/// Writes a new file with mode 0600; one that is there already is left alone.
///
/// # Errors
/// If the file exists, or cannot be written.
pub fn create(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.into() },
        _ => Error::Write {
            path: path.into(),
            source,
        },
    };
    let file = write_beside(path, text).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|refused| failed(refused.error))?;
    Ok(())
}

/// Writes a file with mode 0600 in place of the one that may be there, and waits until it is on
/// the disk.
///
/// # Errors
/// If a link, a folder or a device has the name, or the file cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let write = |file: &mut File| {
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
    };
    swap(path, write)
}

/// Replaces a file as [`replace`] does with what `write` writes, without waiting for the disk: readers
/// see the old file or the new one, and a power failure may bring the old one back.
///
/// # Errors
/// As [`replace`], or if `write` fails.
pub fn replace_unsynced(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), Error> {
    swap(path, |file| {
        let mut buffered = BufWriter::new(file);
        write(&mut buffered)?;
        buffered.flush()
    })
}

fn swap(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    // The new file takes the name of the old one, which must not happen to a device or a link.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::NotAFile { path: path.into() });
    }
    let failed = |source| Error::Write {
        path: path.into(),
        source,
    };
    let mut file = beside(path).map_err(failed)?;
    write(file.as_file_mut()).map_err(failed)?;
    file.persist(path)
        .map_err(|refused| failed(refused.error))?;
    Ok(())
}

/// Makes a folder, and those above it, with mode 0700; folders that are there are left alone.
///
/// # Errors
/// If a folder cannot be made.
pub fn create_folder(path: &Path) -> Result<(), Error> {
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

/// An empty file with mode 0600 under another name in the folder of `path`, so that giving it its
/// name is atomic.
///
/// # Errors
/// If the folder does not let us.
pub fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let file = NamedTempFile::new_in(folder_of(path))?;
    // The umask may have removed the owner's own permissions as well.
    #[cfg(unix)]
    file.as_file().set_permissions(unix::mode(0o600))?;
    Ok(file)
}

/// Waits until the name of the file `path` is on the disk, which it is when its folder is.
///
/// # Errors
/// If the folder cannot be synced.
pub fn sync_name(path: &Path) -> io::Result<()> {
    // Outside Unix a folder is not a file that can be opened.
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn write_beside(path: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut file = beside(path)?;
    file.write_all(text.as_bytes())?;
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

    use crate::file::Error;

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

    use crate::file::Error;

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
    fn a_fifo_of_the_owner_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let mkfifo = Command::new("mkfifo").arg("-m600").arg(&fifo).status();
        assert!(mkfifo.unwrap().success());
        let writer = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::write(fifo, "key")
        });

        assert_eq!(**read_private(&fifo, 3).unwrap(), *b"key");
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_private_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let link = folder.path().join("link.pem");
        fs::write(&path, "key").unwrap();
        symlink(&path, &link).unwrap();

        for (mode, is_read) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o644, false),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&path, unix::mode(mode)).unwrap();
            for path in [&path, &link] {
                assert_eq!(read_private(path, 10).is_ok(), is_read, "{mode:o}");
                assert!(file::read(path, 10).is_ok());
            }
        }
        assert_eq!(
            read_private(&path, 10).unwrap_err().to_string(),
            format!(
                "the private key {0} is open to other users (mode 0620): run `chmod 600 {0}`",
                path.display()
            )
        );
    }
}
