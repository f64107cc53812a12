//! A disk that stops at any step of any write: what was acknowledged is there afterwards.

use std::io;

use redb::StorageBackend;

use super::tests::{free, keep, record};
use super::*;

/// A disk that does so many steps, and then none.
#[derive(Debug, Clone)]
struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// What the process sees, and what is left of it when the process is killed.
    written: Vec<u8>,
    /// What is left when the power goes.
    synced: Vec<u8>,
    steps_left: u32,
}

impl Disk {
    fn with(bytes: Vec<u8>, steps_left: u32) -> Self {
        let state = State {
            written: bytes.clone(),
            synced: bytes,
            steps_left,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn step<T>(&self, step: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = lock(&self.state);
        if state.steps_left == 0 {
            return Err(io::Error::other("the disk has stopped"));
        }
        state.steps_left -= 1;
        Ok(step(&mut state))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.state).written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = lock(&self.state);
        let bytes = state.written.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step(|state| state.written.resize(usize::try_from(len).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(|state| state.synced.clone_from(&state.written))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.step(|state| state.written[offset..offset + data.len()].copy_from_slice(data))
    }
}

fn open(disk: Disk) -> Result<Store, Error> {
    // Four records are kept, so that later writes remove something as well.
    let bounds = Bounds {
        most: 4,
        ..Bounds::default()
    };
    let (database, rows) = Database::open_on(disk, Path::new("a disk"))?;
    Store::from_file(database, rows, bounds)
}

/// Writes until the disk stops. Returns the number of records that were acknowledged.
async fn write(disk: Disk) -> usize {
    let Ok(store) = open(disk) else { return 0 };
    for number in 0..8 {
        let record = record(&number.to_string(), None, 3000 * number);
        if keep(&store, &record).await.is_err() {
            return number;
        }
    }
    8
}

#[tokio::test]
async fn what_was_acknowledged_is_there_wherever_the_process_or_the_machine_stops() {
    let blank = Disk::with(Vec::new(), u32::MAX);
    drop(open(blank.clone()).unwrap());
    let blank = lock(&blank.state).written.clone();

    let mut steps = 0;
    loop {
        let disk = Disk::with(blank.clone(), steps);
        let acknowledged = write(disk.clone()).await;
        let (killed, powerless) = {
            let state = lock(&disk.state);
            (state.written.clone(), state.synced.clone())
        };
        for left in [killed, powerless] {
            let store = open(Disk::with(left, u32::MAX)).unwrap();
            for number in acknowledged.saturating_sub(3)..acknowledged {
                let expected = record(&number.to_string(), None, 3000 * number);
                let found = store.get(&number.to_string(), &mut free()).await.unwrap();
                assert_eq!(found, Some(expected), "{number}, after {steps} steps");
            }
        }
        if acknowledged == 8 {
            break;
        }
        steps += 1;
    }
    assert!(steps > 50, "{steps}");
}

#[tokio::test]
async fn a_store_whose_disk_stopped_says_so_and_is_not_confused() {
    let disk = Disk::with(Vec::new(), u32::MAX);
    let store = open(disk.clone()).unwrap();
    keep(&store, &record("a", None, 0)).await.unwrap();
    lock(&disk.state).steps_left = 2;

    for _ in 0..2 {
        let failed = keep(&store, &record("b", Some("a"), 0)).await;
        assert!(matches!(failed, Err(Error::File(_))), "{failed:?}");
        let failed = store.forget("a").await;
        assert!(matches!(failed, Err(Error::File(_))), "{failed:?}");
    }
    assert!(!lock(&store.inner.index).contains("b"));
    assert!(lock(&store.inner.index).contains("a"));
}

#[test]
fn a_file_that_is_damaged_anywhere_is_refused_or_read() {
    let disk = Disk::with(Vec::new(), u32::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(write(disk.clone())), 8);
    let whole = lock(&disk.state).written.clone();

    let mut refused = 0;
    for place in (0..400).chain((400..whole.len()).step_by(997)) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x55;
        match open(Disk::with(damaged, u32::MAX)) {
            Ok(_) => {}
            Err(Error::NotAStore { .. }) => refused += 1,
            Err(error) => panic!("byte {place}: {error}"),
        }
    }
    assert!(refused > 10, "{refused}");
}
