//! What is kept and read is held of a budget.

use super::*;

/// A record of so many items with ids.
pub(super) fn record_of_items(id: &str, count: usize) -> Record {
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
    store.forget("c").await.unwrap();
    store.forget("b").await.unwrap();
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
