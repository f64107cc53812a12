//! Whatever is done to them, a store in memory, one in a file and a list that is searched from end
//! to end have the same in them. Nobody can tell when the index of a file is made again.

use proptest::prelude::*;
use serde_json::json;

use super::tests::{free, keep, record};
use super::*;

const MOST: usize = 5;
const BYTES: u64 = 3000;

#[derive(Debug, Clone)]
enum Step {
    Keep {
        id: usize,
        parent: Option<usize>,
        padding: usize,
    },
    Get(usize),
    Context(usize),
    Item(usize),
    Delete(usize),
    /// Drops the index, and makes it of what the tables say.
    Rebuild,
    /// Of a file; the others have nothing to open.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keep =
        (0..9_usize, 0..9_usize, 0..300_usize).prop_map(|(id, parent, padding)| Step::Keep {
            id,
            parent: (parent < id).then_some(parent),
            padding,
        });
    let step = prop_oneof![
        6 => keep,
        2 => (0..9_usize).prop_map(Step::Get),
        2 => (0..9_usize).prop_map(Step::Context),
        2 => (0..3_usize).prop_map(Step::Item),
        1 => (0..9_usize).prop_map(Step::Delete),
        2 => Just(Step::Rebuild),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The records, least recently used first, each with the number of the step that kept it.
#[derive(Default)]
struct Model {
    records: Vec<(usize, Record)>,
    step: usize,
    /// The ids in the order that was written last.
    written: Vec<String>,
}

fn parent_of(record: &Record) -> Option<String> {
    let parent = &record.response.get("previous_response_id").unwrap();
    parent.as_str().map(str::to_owned)
}

impl Model {
    fn find(&self, id: &str) -> Option<usize> {
        let mut records = self.records.iter();
        records.position(|(_, record)| record.response.id() == id)
    }

    /// Uses a response and all that it goes on from. Returns them, and whether none is missing.
    fn mark_used(&mut self, id: &str) -> (Vec<Record>, bool) {
        let mut chain = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let Some(place) = self.find(&id) else {
                return (chain, false);
            };
            let used = self.records.remove(place);
            next = parent_of(&used.1);
            chain.push(used.1.clone());
            self.records.push(used);
        }
        (chain, true)
    }

    fn keep(&mut self, record: Record) {
        self.step += 1;
        if let Some(parent) = parent_of(&record) {
            self.mark_used(&parent);
        }
        if let Some(place) = self.find(record.response.id()) {
            self.records.remove(place);
        }
        self.records.push((self.step, record));
        while self.records.len() > MOST || self.bytes() > BYTES {
            self.records.remove(0);
        }
        self.write();
    }

    fn write(&mut self) {
        let ids = self.records.iter().map(|(_, it)| it.response.id());
        self.written = ids.map(str::to_owned).collect();
    }

    /// The record that has the item, of several the one that was kept last. It is used.
    fn holder(&mut self, item: &str) -> Option<String> {
        let has_it = |record: &Record| record.input.iter().any(|it| it.id() == Some(item));
        let holders = self.records.iter().filter(|(_, it)| has_it(it));
        let (_, last) = holders.max_by_key(|(step, _)| *step)?;
        let id = last.response.id().to_owned();
        self.mark_used(&id);
        Some(id)
    }

    fn bytes(&self) -> u64 {
        let size = |(_, record): &(usize, Record)| {
            let draft = record.as_draft();
            draft.to_entry().unwrap().1.size()
        };
        self.records.iter().map(size).sum()
    }

    fn delete(&mut self, id: &str) -> bool {
        let place = self.find(id);
        let deleted = place.map(|place| self.records.remove(place));
        if deleted.is_some() {
            self.write();
        }
        deleted.is_some()
    }

    /// A restart forgets what was used since the last write.
    fn reopen(&mut self) {
        let written = &self.written;
        let place = |id: &str| written.iter().position(|it| it == id);
        self.records
            .sort_by_key(|(_, record)| place(record.response.id()));
    }
}

fn name(id: usize) -> String {
    format!("resp_{id}")
}

/// A record with an item that others have too.
fn with_item(id: usize, parent: Option<usize>, padding: usize) -> Record {
    let mut record = record(&name(id), parent.map(name).as_deref(), padding);
    let item =
        json!({"type": "message", "id": item_of(id % 3), "role": "user", "content": name(id)});
    record.input.push(serde_json::from_value(item).unwrap());
    record
}

fn item_of(number: usize) -> String {
    format!("msg_{number}")
}

async fn compare(steps: &[Step], mut store: Store, path: Option<&Path>, bounds: Bounds) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Keep {
                id,
                parent,
                padding,
            } => {
                let record = with_item(*id, *parent, *padding);
                keep(&store, &record).await.unwrap();
                model.keep(record);
            }
            Step::Get(id) => {
                let found = store.get(&name(*id), &mut free()).await.unwrap();
                let expected = model.mark_used(&name(*id)).0.into_iter().next();
                assert_eq!(found, expected);
            }
            Step::Context(id) => {
                let (chain, is_whole) = model.mark_used(&name(*id));
                let expected = is_whole.then(|| {
                    let records = chain.into_iter().rev();
                    let items = records.map(|it| {
                        let output = it.response.output().into_iter();
                        let output = output.map(Arc::unwrap_or_clone);
                        it.input.into_iter().chain(output).collect::<Vec<_>>()
                    });
                    items.collect::<Vec<_>>().concat()
                });
                assert_eq!(
                    store.context(&name(*id), &mut free()).await.unwrap(),
                    expected
                );
            }
            Step::Item(number) => {
                let item = item_of(*number);
                let holder = model.holder(&item);
                let found = store.items(vec![item.clone()], &mut free()).await.unwrap();
                let text = match found.get(&item) {
                    Some(Item::Message(message)) => Some(message.text()),
                    _ => None,
                };
                assert_eq!(text, holder);
            }
            Step::Rebuild => store.inner.rebuild_index().unwrap(),
            Step::Delete(id) => {
                let expected = model.delete(&name(*id));
                assert_eq!(store.forget(&name(*id)).await.unwrap(), expected);
            }
            Step::Reopen => {
                if let Some(path) = path {
                    drop(store);
                    store = Store::open(path, bounds).unwrap();
                    model.reopen();
                }
            }
        }
        let ids = model.records.iter().map(|(_, record)| record.response.id());
        let index = lock(&store.inner.index);
        assert!(index.ids_by_use().eq(ids), "after {step:?}");
    }
}

proptest! {
    // Every case writes to a disk.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_store_agrees_with_a_list(steps in steps()) {
        let bounds = Bounds { most: MOST, bytes: BYTES, ..Bounds::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            compare(&steps, Store::in_memory(bounds), None, bounds).await;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("responses.redb");
            let store = Store::open(&path, bounds).unwrap();
            compare(&steps, store, Some(&path), bounds).await;
        });
    }
}
