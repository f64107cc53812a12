//! What a store promises, of both kinds; and of a file, what becomes of it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;

/// A record whose question and answer name it, `padding` bytes longer than need be.
pub(super) fn record(id: &str, parent: Option<&str>, padding: usize) -> Record {
    let record = json!({
        "response": {
            "id": id,
            "object": "response",
            "previous_response_id": parent,
            "output": [{"type": "message", "role": "assistant", "content": format!("answer of {id}")}],
        },
        "input": [{"type": "message", "role": "user", "content": format!("question of {id}{}", " ".repeat(padding))}],
    });
    serde_json::from_value(record).unwrap()
}

fn bytes_of(record: &Record) -> u64 {
    serde_json::to_vec(record).unwrap().len() as u64
}

pub(super) async fn keep(store: &Store, record: &Record) -> Result<(), Error> {
    store.keep(&record.response, &record.input).await
}

/// A share of memory without end.
pub(super) fn free() -> Held {
    Budget::unlimited().empty()
}

/// What was said, as texts.
async fn said(store: &Store, id: &str) -> Option<Vec<String>> {
    let items = store.context(id, &mut free()).await.unwrap()?;
    let text = |item: &Item| match serde_json::to_value(item).unwrap() {
        Value::Object(mut item) => item["content"].take().as_str().unwrap().to_owned(),
        item => panic!("{item} is no message"),
    };
    Some(items.iter().map(text).collect())
}

async fn kept(store: &Store, ids: &[&str]) -> Vec<String> {
    let mut kept = Vec::new();
    for &id in ids {
        if store.get(id, &mut free()).await.unwrap().is_some() {
            kept.push(id.to_owned());
        }
    }
    kept
}

/// Keeps short records, given as `id` or `id<parent`.
async fn keep_all(store: &Store, records: &[&str]) {
    for text in records {
        let (id, parent) = match text.split_once('<') {
            Some((id, parent)) => (id, Some(parent)),
            None => (*text, None),
        };
        keep(store, &record(id, parent, 0)).await.unwrap();
    }
}

/// A path where no file is yet, in a folder that goes when this does.
fn a_path() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("responses.redb");
    (folder, path)
}

/// A store of each kind; the folder is of the one that has a file.
fn both(bounds: Bounds) -> (TempDir, [Store; 2]) {
    let (folder, path) = a_path();
    let file = Store::open(&path, bounds).unwrap();
    (folder, [Store::in_memory(bounds), file])
}

fn most(most: usize) -> Bounds {
    Bounds {
        most,
        ..Bounds::default()
    }
}

#[tokio::test]
async fn a_context_is_what_was_said_oldest_first() {
    let (_folder, stores) = both(Bounds::default());
    for store in stores {
        keep_all(&store, &["a", "b<a", "other<a", "c<b"]).await;

        let expected =
            ["a", "b", "c"].map(|id| [format!("question of {id}"), format!("answer of {id}")]);
        assert_eq!(said(&store, "c").await.unwrap(), expected.concat());
        assert_eq!(said(&store, "nobody").await, None);
        let c = store.get("c", &mut free()).await.unwrap();
        assert_eq!(c, Some(record("c", Some("b"), 0)));
    }
}

#[tokio::test]
async fn a_record_takes_the_place_of_the_one_before() {
    let longest = record("a", None, 100);
    let bounds = Bounds {
        bytes: bytes_of(&longest) + 10,
        ..Bounds::default()
    };
    let (_folder, stores) = both(bounds);
    for store in stores {
        for padding in [100, 0, 50, 100] {
            let record = record("a", None, padding);
            keep(&store, &record).await.unwrap();
            assert_eq!(store.get("a", &mut free()).await.unwrap(), Some(record));
        }
    }
}

#[tokio::test]
async fn what_follows_a_deleted_response_is_read_and_not_gone_on_from() {
    let (_folder, stores) = both(Bounds::default());
    for store in stores {
        keep_all(&store, &["a", "b<a", "c<b"]).await;

        assert!(store.delete("b").await.unwrap());
        assert!(!store.delete("b").await.unwrap());
        assert!(!store.delete("nobody").await.unwrap());
        assert_eq!(kept(&store, &["a", "b", "c"]).await, ["a", "c"]);
        assert_eq!(said(&store, "c").await, None);
        assert!(said(&store, "a").await.is_some());
    }
}

#[tokio::test]
async fn an_item_is_found_by_its_id_as_long_as_it_is_kept() {
    let (folder, path) = a_path();
    let with_item = |id: &str, text: &str| {
        let mut record = record(id, None, 0);
        let message = json!({"type": "message", "id": "msg_1", "role": "user", "content": text});
        record.input = vec![serde_json::from_value(message).unwrap()];
        record
    };
    let text = |item: Option<Item>| match item {
        Some(Item::Message(message)) => Some(message.text()),
        _ => None,
    };
    {
        let file = Store::open(&path, Bounds::default()).unwrap();
        keep(&file, &with_item("a", "of a")).await.unwrap();
    }
    let file = Store::open(&path, Bounds::default()).unwrap();
    let memory = Store::in_memory(Bounds::default());
    keep(&memory, &with_item("a", "of a")).await.unwrap();
    for store in [file, memory] {
        let item = async || {
            let ids = vec!["msg_1".to_owned(), "msg_none".to_owned()];
            let mut held = free();
            let items = store.items(ids, &mut held);
            text(items.await.unwrap().remove("msg_1"))
        };
        assert_eq!(item().await.as_deref(), Some("of a"));
        keep(&store, &with_item("b", "of b")).await.unwrap();
        assert_eq!(item().await.as_deref(), Some("of b"));
        store.delete("a").await.unwrap();
        assert_eq!(item().await.as_deref(), Some("of b"));
        store.delete("b").await.unwrap();
        assert_eq!(item().await, None);
    }
    drop(folder);
}

#[tokio::test]
async fn a_cycle_comes_to_an_end() {
    let (_folder, stores) = both(Bounds::default());
    for store in stores {
        keep_all(&store, &["a<b", "b<a", "self<self", "c<b"]).await;

        for id in ["a", "b", "c", "self"] {
            assert_eq!(said(&store, id).await, None, "{id}");
            assert!(store.get(id, &mut free()).await.unwrap().is_some(), "{id}");
        }
    }
}

#[tokio::test]
async fn no_more_responses_are_kept_than_may_be() {
    let (_folder, stores) = both(most(3));
    for store in stores {
        keep_all(&store, &["a", "b", "c", "d", "e"]).await;
        assert_eq!(
            kept(&store, &["a", "b", "c", "d", "e"]).await,
            ["c", "d", "e"]
        );
    }
}

#[tokio::test]
async fn a_conversation_that_goes_on_keeps_its_beginning() {
    let (_folder, stores) = both(most(4));
    for store in stores {
        keep_all(&store, &["a", "b<a", "x"]).await;
        assert!(said(&store, "b").await.is_some());
        keep_all(&store, &["y", "z"]).await;
        assert_eq!(kept(&store, &["x", "y", "z"]).await, ["y", "z"]);
        assert!(said(&store, "b").await.is_some());

        // Going on from it is a use as well, and of what goes, the end goes first.
        keep_all(&store, &["c<b"]).await;
        keep_all(&store, &["v", "w"]).await;
        assert_eq!(
            kept(&store, &["a", "b", "y", "z", "v", "w"]).await,
            ["a", "v", "w"]
        );
    }
}

#[tokio::test]
async fn no_more_bytes_are_kept_than_may_be() {
    let one = record("a", None, 100);
    let bounds = Bounds {
        bytes: 3 * bytes_of(&one),
        ..Bounds::default()
    };
    let (_folder, stores) = both(bounds);
    for store in stores {
        for id in ["a", "b", "c"] {
            keep(&store, &record(id, None, 100)).await.unwrap();
        }
        assert_eq!(kept(&store, &["a", "b", "c"]).await, ["a", "b", "c"]);
        keep(&store, &record("d", None, 101)).await.unwrap();
        assert_eq!(kept(&store, &["a", "b", "c", "d"]).await, ["c", "d"]);

        let refused = keep(&store, &record("e", None, 1000)).await;
        assert!(
            matches!(refused, Err(Error::TooLarge { size, most }) if size > most && most == bounds.bytes),
            "{refused:?}"
        );
        assert_eq!(kept(&store, &["c", "d", "e"]).await, ["c", "d"]);
    }
}

#[tokio::test]
async fn what_is_not_used_for_too_long_is_gone() {
    let bounds = Bounds {
        age: Duration::from_millis(10),
        ..Bounds::default()
    };
    let (_folder, stores) = both(bounds);
    for store in stores {
        keep_all(&store, &["a", "b<a"]).await;
        sleep(Duration::from_millis(20)).await;

        assert!(store.get("a", &mut free()).await.unwrap().is_none());
        assert_eq!(said(&store, "b").await, None);
        assert!(!store.delete("b").await.unwrap());
        keep_all(&store, &["c"]).await;
        assert!(lock(&store.inner.index).ids_by_use().eq(["c"]));
    }
}

#[test]
fn a_use_makes_all_that_is_gone_on_from_young() {
    let bounds = Bounds {
        age: Duration::from_micros(100),
        ..Bounds::default()
    };
    let mut index = Index::new(bounds);
    for (id, parent, used_at) in [("a", None, 10), ("b", Some("a"), 20), ("c", Some("b"), 30)] {
        let entry = Entry {
            bytes: 1,
            parent: parent.map(str::to_owned),
            items: Vec::new(),
            is_open: false,
            used_at,
        };
        index.put(id.to_owned(), entry);
    }

    assert!(index.mark_used("b", 110).is_whole);
    assert!(index.surplus(None, 130).is_empty());
    assert_eq!(index.surplus(None, 131), ["c"]);
    assert!(index.mark_used("c", 131).newest_first.is_empty());
    assert_eq!(index.surplus(None, 210), ["c"]);
    assert_eq!(index.surplus(None, 211), ["c", "b", "a"]);
}

#[test]
fn time_goes_on_when_the_clock_does_not() {
    let now = SystemTime::now();
    let mut index = Index::new(Bounds::default());
    let first = index.tick(now);
    assert!(index.tick(now) > first);
    assert!(index.tick(SystemTime::UNIX_EPOCH) > first);

    let ahead = Entry {
        bytes: 1,
        parent: None,
        items: Vec::new(),
        is_open: false,
        used_at: u64::MAX,
    };
    let mut index = Index::restored(Bounds::default(), vec![("a".to_owned(), ahead)], now);
    assert!(index.tick(now) < first + 10);
}

#[tokio::test]
async fn a_file_has_its_records_when_it_is_opened_again() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    keep_all(&store, &["a", "b<a", "c<b", "x"]).await;
    store.delete("x").await.unwrap();
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

#[tokio::test]
async fn a_record_is_kept_even_if_nobody_waits_for_it() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    let record = record("a", None, 0);
    {
        let keep = keep(&store, &record);
        assert!(futures::poll!(std::pin::pin!(keep)).is_pending());
    }
    // Only one writes at a time, so this one comes after it.
    store.delete("nobody").await.unwrap();
    assert!(store.get("a", &mut free()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_write_and_read_at_a_time() {
    let (_folder, stores) = both(most(50));
    for store in stores {
        let tasks = (0..8).map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut parent = None;
                for number in 0..12 {
                    let id = format!("{task}-{number}");
                    let record = record(&id, parent.as_deref(), 0);
                    keep(&store, &record).await.unwrap();
                    // By now, the others may have made it go.
                    store.get(&id, &mut free()).await.unwrap();
                    store.context(&id, &mut free()).await.unwrap();
                    parent = Some(id);
                }
            })
        });
        futures::future::try_join_all(tasks).await.unwrap();

        let ids: Vec<String> = {
            let index = lock(&store.inner.index);
            index.ids_by_use().map(str::to_owned).collect()
        };
        assert_eq!(ids.len(), 50);
        for id in ids {
            assert!(store.get(&id, &mut free()).await.unwrap().is_some(), "{id}");
        }
    }
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
        items: Vec::new(),
        is_open: false,
        used_at: 0,
    };
    let value = Bytes::from_static(b"null");
    database.write(Some(("a", &entry, &value)), &[]).unwrap();

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

/// A record of so many items with ids.
fn record_of_items(id: &str, count: usize) -> Record {
    let item = |number| json!({"type": "message", "id": format!("msg_{id}_{number}"), "role": "user", "content": "a"});
    let items: Vec<Value> = (0..count).map(item).collect();
    let record =
        json!({"response": {"id": id, "object": "response", "output": []}, "input": items});
    serde_json::from_value(record).unwrap()
}

#[tokio::test]
async fn what_is_read_is_held_before_it_is_parsed() {
    let (_folder, stores) = both(Bounds::default());
    for store in stores {
        keep(&store, &record_of_items("a", 1000)).await.unwrap();
        let ids = || vec!["msg_a_1".to_owned()];
        let small = Budget::new(100_000);
        let mut held = small.empty();
        let refused = [
            store.get("a", &mut held).await.err(),
            store.said("a", &mut held).await.err(),
            store.context("a", &mut held).await.err(),
            store.items(ids(), &mut held).await.err(),
        ];
        for error in refused {
            assert!(matches!(error, Some(Error::Exhausted(_))), "{error:?}");
        }
        assert_eq!(small.used(), 0);

        let large = Budget::new(10_000_000);
        let mut held = large.empty();
        let context = store.context("a", &mut held).await.unwrap();
        assert_eq!(context.unwrap().len(), 1000);
        assert!(held.bytes() > 500_000, "{}", held.bytes());
        store.get("none", &mut held).await.unwrap();
        assert_eq!(held.bytes(), large.used());
        drop(held);
        assert_eq!(large.used(), 0);
    }
}

#[tokio::test]
async fn a_store_in_memory_holds_what_it_keeps_and_keeps_no_more_than_there_is() {
    let budget = Budget::new(3000);
    let store = Store::in_memory_of(most(2), &budget);
    let size = async |id| {
        keep(&store, &record(id, None, 1000)).await.unwrap();
        budget.used()
    };
    let one = size("a").await;
    assert_eq!(size("a").await, one, "in place of itself");
    assert_eq!(size("b").await, 2 * one);
    let others = budget.hold(3000 - 2 * one).unwrap();
    let refused = keep(&store, &record("c", None, 1100)).await;
    assert!(matches!(refused, Err(Error::Exhausted(_))), "{refused:?}");
    assert_eq!(kept(&store, &["a", "b", "c"]).await, ["a", "b"]);
    drop(others);
    assert_eq!(size("c").await, 2 * one, "in place of the oldest");
    store.delete("c").await.unwrap();
    store.delete("b").await.unwrap();
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn the_index_of_many_small_items_counts() {
    let one = record_of_items("a", 100);
    let bounds = Bounds {
        bytes: 2 * bytes_of(&one) + 10_000,
        ..Bounds::default()
    };
    let (_folder, stores) = both(bounds);
    for store in stores {
        for id in ["a", "b"] {
            keep(&store, &record_of_items(id, 100)).await.unwrap();
        }
        assert_eq!(kept(&store, &["a", "b"]).await, ["b"]);
    }
}
