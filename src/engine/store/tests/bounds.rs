//! How much is kept, and what goes first.

use super::super::index::{Entry, micros};
use super::*;

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
        assert!(!store.forget("b").await.unwrap());
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
            parent: parent.map(Arc::from),
            items: Box::default(),
            is_open: false,
            used_at,
        };
        index.put(id.into(), entry);
    }

    let gone = |index: &Index, now| {
        let gone = index.surplus(None, now);
        gone.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(index.mark_used("b", 110).is_whole);
    assert!(index.surplus(None, 130).is_empty());
    assert_eq!(gone(&index, 131), ["c"]);
    assert!(index.mark_used("c", 131).newest_first.is_empty());
    assert_eq!(gone(&index, 210), ["c"]);
    assert_eq!(gone(&index, 211), ["c", "b", "a"]);
}

#[test]
fn time_goes_on_when_the_clock_does_not() {
    let now = SystemTime::now();
    let mut index = Index::new(Bounds::default());
    let first = index.tick(now);
    assert!(index.tick(now) > first);
    assert!(index.tick(SystemTime::UNIX_EPOCH) > first);
}

#[tokio::test]
async fn a_clock_that_was_ahead_makes_no_record_that_never_ages() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    keep_all(&store, &["a", "b"]).await;
    let now = SystemTime::now();
    let ahead = now + Duration::from_secs(1000);
    lock(&store.inner.index).tick(ahead);
    keep_all(&store, &["c", "d"]).await;
    drop(store);

    let store = Store::open(&path, Bounds::default()).unwrap();
    for _ in ["opened", "rebuilt"] {
        let mut index = lock(&store.inner.index);
        assert!(index.ids_by_use().eq(["a", "b", "c", "d"]));
        assert!(index.tick(now) < micros(ahead));
        drop(index);
        store.inner.rebuild_index().unwrap();
    }
}
