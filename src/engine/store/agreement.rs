//! Whatever is done to them, a store in memory, one in a file and a list that is searched from end
//! to end have the same in them.

use proptest::prelude::*;

use super::tests::{free, keep, record};
use super::*;

const MOST: usize = 5;
const BYTES: u64 = 1600;

#[derive(Debug, Clone)]
enum Step {
    Keep {
        id: usize,
        parent: Option<usize>,
        padding: usize,
    },
    Get(usize),
    Context(usize),
    Delete(usize),
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
        1 => (0..9_usize).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The records, least recently used first, each with the number of the step that kept it.
#[derive(Default)]
struct Model {
    records: Vec<(usize, Record)>,
    step: usize,
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
    }

    fn bytes(&self) -> u64 {
        let bytes = |(_, record): &(usize, Record)| serde_json::to_vec(record).unwrap().len();
        self.records.iter().map(bytes).sum::<usize>() as u64
    }

    fn delete(&mut self, id: &str) -> bool {
        let place = self.find(id);
        place.map(|place| self.records.remove(place)).is_some()
    }

    /// After a restart, keeping and going on are all the uses that are known.
    fn reopen(&mut self) {
        self.records.sort_by_key(|(step, _)| *step);
        for (_, record) in self.records.clone() {
            self.mark_used(record.response.id());
        }
    }
}

fn name(id: usize) -> String {
    format!("resp_{id}")
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
                let record = record(&name(*id), parent.map(name).as_deref(), *padding);
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
            Step::Delete(id) => {
                let expected = model.delete(&name(*id));
                assert_eq!(store.delete(&name(*id)).await.unwrap(), expected);
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
