//! What a store promises, of both kinds; and of a file, what becomes of it.

mod bounds;
mod claims;
mod file;
mod memory;

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
    store.create(&record.response, &record.input).await
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

        assert!(store.forget("b").await.unwrap());
        assert!(!store.forget("b").await.unwrap());
        assert!(!store.forget("nobody").await.unwrap());
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
        store.forget("a").await.unwrap();
        assert_eq!(item().await.as_deref(), Some("of b"));
        store.forget("b").await.unwrap();
        assert_eq!(item().await, None);

        for (id, text) in [("a", "of a"), ("b", "of b"), ("c", "of c")] {
            keep(&store, &with_item(id, text)).await.unwrap();
        }
        store.forget("b").await.unwrap();
        store.forget("c").await.unwrap();
        assert_eq!(item().await.as_deref(), Some("of a"));
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
async fn a_record_is_kept_even_if_nobody_waits_for_it() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    let record = record("a", None, 0);
    {
        let keep = keep(&store, &record);
        assert!(futures::poll!(std::pin::pin!(keep)).is_pending());
    }
    // Only one writes at a time, so this one comes after it.
    store.forget("nobody").await.unwrap();
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
