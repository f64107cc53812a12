//! Which form the file has, and how an older form becomes today's.

use std::collections::HashMap;
use std::path::Path;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::Error;
use super::file::{ENTRIES, USES};

/// What the file says of itself.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const FORM: &str = "version";

/// Today's form. Version 1 had no `meta`; version 2 had no `uses`, and no `claims`.
const VERSION: u64 = 3;

/// Migrates the file to the current version, in one commit.
///
/// # Errors
/// [`Error::NewerVersion`] if a newer program wrote the file, [`Error::NotAStore`] if it is damaged.
pub fn migrate(database: &redb::Database, path: &Path) -> Result<(), Error> {
    let found = found_or_set(database).map_err(|source| Error::NotAStore {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    if found > VERSION {
        return Err(Error::NewerVersion {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    Ok(())
}

/// The version of the file, which is set to today's unless it is newer.
fn found_or_set(database: &redb::Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(FORM)?.map_or(1, |version| version.value());
        if found < VERSION {
            write_uses(&transaction)?;
            meta.insert(FORM, VERSION)?;
        }
        found
    };
    match found < VERSION {
        true => transaction.commit()?,
        false => transaction.abort()?,
    }
    Ok(found)
}

/// Until version 3, only the time was written at which a record was kept, which was a use of all that it
/// goes on from. A response that was still being made has no claim: its owner is gone.
fn write_uses(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut records = HashMap::new();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (id, columns) = row?;
        let (kept_at, _, parent, ..) = columns.value();
        records.insert(id.value().to_owned(), (kept_at, parent.map(str::to_owned)));
    }
    let mut kept_last_first: Vec<_> = records.iter().map(|(id, it)| (it.0, id.clone())).collect();
    kept_last_first.sort_unstable_by(|one, other| other.cmp(one));
    let mut uses = transaction.open_table(USES)?;
    for (at, id) in kept_last_first {
        let mut next = Some(id);
        // What is gone from the map was used later still, and so was all that it goes on from.
        for place in 0_u64.. {
            let Some(id) = next.take() else { break };
            let Some((_, parent)) = records.remove(&id) else {
                break;
            };
            uses.insert(id.as_str(), (at, place))?;
            next = parent;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::file::{CLAIMS, Database};
    use super::super::tests::{keep, record};
    use super::super::{Bounds, Store};
    use super::*;
    use crate::budget::Budget;

    /// Two responses of a conversation, as the program wrote them before the file had a version.
    const VERSION_1: &[u8] = include_bytes!("../../../fixtures/store/version-1.redb");
    const LAST_OF_IT: &str = "resp_2fdaa4750c406150006b087fe73a4fa524355769f31f50cdf2";

    #[tokio::test]
    async fn a_file_of_the_first_form_keeps_its_conversations() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("responses.redb");
        fs::write(&path, VERSION_1).unwrap();
        for _ in ["migrated", "opened again"] {
            let store = Store::open(&path, Bounds::default()).unwrap();
            let mut held = Budget::unlimited().empty();
            let said = store.context(LAST_OF_IT, &mut held).await.unwrap();
            assert_eq!(said.unwrap().len(), 4, "two questions and two answers");
        }
    }

    #[tokio::test]
    async fn a_file_of_the_second_form_keeps_its_order_and_fails_what_was_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("responses.redb");
        let store = Store::open(&path, Bounds::default()).unwrap();
        for (id, parent) in [("a", None), ("x", None), ("b", Some("a")), ("y", None)] {
            let mut record = record(id, parent, 0);
            if id == "y" {
                let status = serde_json::json!("in_progress");
                record.response = record.response.with([("status", status)], Vec::new());
            }
            keep(&store, &record).await.unwrap();
        }
        drop(store);
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.delete_table(USES).unwrap();
        transaction.delete_table(CLAIMS).unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert(FORM, 2).unwrap();
        drop(meta);
        transaction.commit().unwrap();
        drop(database);

        let (_, mut rows) = Database::open(&path).unwrap();
        rows.sort_by_key(|row| row.used);
        assert!(rows.iter().map(|row| &*row.id).eq(["x", "b", "a", "y"]));
        let store = Store::open(&path, Bounds::default()).unwrap();
        assert_eq!(store.is_open("y").await.unwrap(), Some(false));
    }

    #[test]
    fn a_file_of_a_newer_form_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("responses.redb");
        drop(Store::open(&path, Bounds::default()).unwrap());
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert(FORM, VERSION + 1).unwrap();
        drop(meta);
        transaction.commit().unwrap();
        drop(database);

        let refused = Store::open(&path, Bounds::default()).err();
        assert!(
            matches!(
                refused,
                Some(Error::NewerVersion {
                    found: 4,
                    known: 3,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}
