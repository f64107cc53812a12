//! Who makes a response, and what becomes of one whose owner is gone.

use super::*;

/// A response that is still being made.
fn open(id: &str) -> Record {
    let mut record = record(id, None, 0);
    record.response = record
        .response
        .with([("status", json!("queued"))], record.response.output());
    record
}

#[tokio::test]
async fn a_response_is_claimed_until_it_is_finished() {
    let (_folder, stores) = both(Bounds::default());
    for store in stores {
        let own = Some(store.inner.owner);
        keep(&store, &open("a")).await.unwrap();
        assert_eq!(store.is_open("a").await.unwrap(), Some(true));
        assert_eq!(store.owner("a").await.unwrap(), own);
        assert!(store.claim("a").await.unwrap());

        let done = record("a", None, 0);
        store.finish(done.response.clone()).await.unwrap();
        assert_eq!(store.is_open("a").await.unwrap(), Some(false));
        assert_eq!(store.owner("a").await.unwrap(), None);
        assert!(!store.claim("a").await.unwrap());
        assert_eq!(store.get("a", &mut free()).await.unwrap(), Some(done));

        for id in ["done", "nobody"] {
            keep(&store, &record("done", None, 0)).await.unwrap();
            assert_eq!(store.owner(id).await.unwrap(), None);
            assert!(!store.claim(id).await.unwrap());
        }
        keep(&store, &open("b")).await.unwrap();
        assert!(store.forget("b").await.unwrap());
        assert_eq!(store.is_open("b").await.unwrap(), None);
        assert_eq!(store.owner("b").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_response_whose_owner_is_gone_has_failed() {
    let (_folder, path) = a_path();
    let store = Store::open(&path, Bounds::default()).unwrap();
    keep(&store, &open("a")).await.unwrap();
    let owner = Some(store.inner.owner);
    drop(store);

    let (database, rows) = Database::open(&path).unwrap();
    assert_eq!(database.owner("a").unwrap(), owner);
    let store = Store::from_file(database, rows, Bounds::default()).unwrap();
    assert_ne!(Some(store.inner.owner), owner);
    assert_eq!(store.owner("a").await.unwrap(), None);
    assert_eq!(store.is_open("a").await.unwrap(), Some(false));
    let record = store.get("a", &mut free()).await.unwrap().unwrap();
    assert_eq!(record.response.get("status"), Some(&json!("failed")));
    let error = record.response.error().unwrap();
    assert_eq!(
        error.message,
        "The response was not done when its server was stopped."
    );
    assert_eq!(record.input, open("a").input);
}

#[tokio::test]
async fn a_range_is_a_part_of_the_input() {
    let (_folder, stores) = both(Bounds::default());
    for store in stores {
        keep(&store, &memory::record_of_items("a", 5))
            .await
            .unwrap();
        let page = async |newest_first, after: Option<&str>, limit| {
            let range = Range {
                newest_first,
                after: after.map(str::to_owned),
                limit,
            };
            let page = store.input_items("a", range, &mut free()).await;
            match page.unwrap().unwrap() {
                Page::Items { items, has_more } => {
                    let ids = items.iter().filter_map(Item::id);
                    Some((ids.collect::<Vec<_>>().join(" "), has_more))
                }
                Page::NoSuchItem => None,
            }
        };
        let some = |ids: &str, has_more| Some((ids.to_owned(), has_more));
        assert_eq!(page(true, None, 2).await, some("msg_a_4 msg_a_3", true));
        let rest = page(false, Some("msg_a_2"), 2).await;
        assert_eq!(rest, some("msg_a_3 msg_a_4", false));
        assert_eq!(page(true, Some("msg_a_0"), 2).await, some("", false));
        assert_eq!(page(true, Some("msg_none"), 2).await, None);
    }
}
