//! What becomes of a file.

use bytes::Bytes;

use super::super::index::Entry;
use super::super::values::Kept;
use super::*;

#[tokio::test]
async fn a_file_has_its_records_when_it_is_opened_again() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    keep_all(&store, &["a", "b<a", "c<b", "x"]).await;
    store.forget("x").await.unwrap();
    let before = said(&store, "c").await;
    drop(store);

    let store = Store::open(&path, Bounds::default()).unwrap();
    assert_eq!(said(&store, "c").await, before);
    assert_eq!(kept(&store, &["a", "b", "c", "x"]).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_file_has_its_order_and_its_bounds_when_it_is_opened_again() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    keep_all(&store, &["a", "x", "b<a", "y", "c<b", "z"]).await;
    drop(store);

    // `a` was kept first, and is younger than `x` and `y`: `c` goes on from it.
    let store = Store::open(&path, most(4)).unwrap();
    drop(store);
    let store = Store::open(&path, Bounds::default()).unwrap();
    let left = kept(&store, &["a", "b", "c", "x", "y", "z"]).await;
    assert_eq!(left, ["a", "b", "c", "z"]);
    drop(store);

    sleep(Duration::from_millis(20)).await;
    let bounds = Bounds {
        age: Duration::from_millis(10),
        ..Bounds::default()
    };
    let store = Store::open(&path, bounds).unwrap();
    assert!(lock(&store.inner.index).surplus(None, 0).is_empty());
    drop(store);
    let store = Store::open(&path, Bounds::default()).unwrap();
    assert!(kept(&store, &["a", "b", "c", "z"]).await.is_empty());
}

#[tokio::test]
async fn a_file_does_not_grow_with_what_is_gone() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, most(4)).unwrap();
    let mut lengths = Vec::new();
    for round in 0..3 {
        for number in 0..40 {
            let id = format!("{round}-{number}");
            keep(&store, &record(&id, None, 100_000)).await.unwrap();
        }
        lengths.push(fs::metadata(&path).unwrap().len());
    }
    assert_eq!(lengths[1], lengths[2], "{lengths:?}");
}

#[cfg(unix)]
#[test]
fn a_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, path) = a_path();
    let _store = Store::open(&path, Bounds::default()).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_file_is_opened_once_at_a_time() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    let again = Store::open(&path, Bounds::default()).err();
    assert!(
        matches!(&again, Some(Error::InUse { path: named }) if *named == path),
        "{again:?}"
    );
    drop(store);
    assert!(Store::open(&path, Bounds::default()).is_ok());
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let (_folder, path) = a_path();
    for garbage in [
        &b"x"[..],
        b"{\"not\": \"a database\"}\n",
        &[0; 5000],
        &[0xff; 100_000],
    ] {
        fs::write(&path, garbage).unwrap();
        let refused = Store::open(&path, Bounds::default()).err();
        assert!(
            matches!(refused, Some(Error::NotAStore { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), garbage);
    }
}

#[test]
fn an_empty_file_becomes_a_store() {
    let (_folder, path) = a_path();
    fs::write(&path, "").unwrap();
    assert!(Store::open(&path, Bounds::default()).is_ok());
}

#[test]
fn a_database_of_something_else_is_refused() {
    let (_folder, path) = a_path();
    let other = redb::Database::create(&path).unwrap();
    let transaction = other.begin_write().unwrap();
    let table = redb::TableDefinition::<u64, u64>::new("records");
    transaction.open_table(table).unwrap();
    transaction.commit().unwrap();
    drop(other);

    let refused = Store::open(&path, Bounds::default()).err();
    assert!(
        matches!(refused, Some(Error::NotAStore { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_file_that_cannot_be_made_or_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        folder.path().to_owned(),
        folder.path().join("none/responses.redb"),
    ] {
        let refused = Store::open(&path, Bounds::default()).err();
        assert!(
            matches!(&refused, Some(Error::Open { path: named, .. }) if *named == path),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_record_that_is_none_is_named() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    keep_all(&store, &["a", "b<a"]).await;
    let Values::File(database) = &store.inner.values else {
        panic!("there is no file");
    };
    let entry = Entry {
        bytes: 4,
        parent: None,
        items: Box::default(),
        is_open: false,
        used_at: 0,
    };
    let value = Bytes::from_static(b"null");
    let kept = Kept {
        id: &"a".into(),
        entry: &entry,
        value: &value,
        owner: None,
    };
    database.write(Some(&kept), &[]).unwrap();

    let errors = [
        store.get("a", &mut free()).await.err(),
        store.context("b", &mut free()).await.err(),
    ];
    for error in errors {
        assert!(
            matches!(&error, Some(Error::NotARecord { id, .. }) if id == "a"),
            "{error:?}"
        );
    }
    assert!(store.get("b", &mut free()).await.unwrap().is_some());
}
