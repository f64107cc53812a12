//! The file of the developer key: made once, kept, replaced only when forced.

use std::fs;
use std::path::Path;
use std::thread;

use crate::auth::vectors::key::same_as_ours;
use crate::auth::vectors::test_keys::{OURS, THEIRS};
use crate::auth::{Created, DEV_KEY_FILE, Error, KeyRefusal, SigningKey};
use crate::file;

#[test]
fn the_developer_key_is_made_once_and_then_found() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data/mcp-cli");

    let (made, first) = SigningKey::load_or_create(&folder).unwrap();
    let (found, second) = SigningKey::load_or_create(&folder).unwrap();

    assert_eq!((first, second), (Created::Yes, Created::No));
    assert_eq!(made.public_pem(), found.public_pem());
    assert_eq!(names_in(&folder), [DEV_KEY_FILE]);
    let file = fs::read_to_string(folder.join(DEV_KEY_FILE)).unwrap();
    assert_eq!(file, made.private_pem().expose());
}

#[test]
fn whoever_loses_the_race_to_make_the_key_uses_the_key_of_the_winner() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("keys");
    let results: Vec<(SigningKey, Created)> = thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| SigningKey::load_or_create(&folder).unwrap()))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });

    let winners = results
        .iter()
        .filter(|(_, created)| *created == Created::Yes);
    assert_eq!(winners.count(), 1);
    for (key, _) in &results {
        assert_eq!(key.public_pem(), results[0].0.public_pem());
    }
    assert_eq!(names_in(&folder), [DEV_KEY_FILE]);
}

#[test]
fn a_damaged_developer_key_is_reported_and_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(DEV_KEY_FILE);
    crate::secret::Secret::from(String::new())
        .save(&path, false)
        .unwrap();

    let error = SigningKey::load_or_create(home.path()).unwrap_err();

    assert!(matches!(
        error,
        Error::KeyFile {
            source: KeyRefusal::Empty,
            ..
        }
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn a_saved_key_is_replaced_only_when_forced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys/key.pem");
    OURS.save(&path, false).unwrap();

    assert!(matches!(
        THEIRS.save(&path, false),
        Err(Error::File(file::Error::Exists { .. }))
    ));
    assert!(same_as_ours(
        SigningKey::load(&path).unwrap().verifying_key()
    ));
    THEIRS.save(&path, true).unwrap();
    assert!(!same_as_ours(
        SigningKey::load(&path).unwrap().verifying_key()
    ));
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
