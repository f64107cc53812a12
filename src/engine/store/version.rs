//! Which form the file has, and how an older form becomes today's.

use std::path::Path;

use redb::{ReadableTable, TableDefinition};

use super::Error;

/// What the file says of itself.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const FORM: &str = "version";

/// Today's form. Version 1 had the same tables, and no `meta`.
const VERSION: u64 = 2;

/// Brings the file to today's form, in one commit: whole, or not at all.
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

#[cfg(test)]
mod tests {
    use std::fs;

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
                    found: 3,
                    known: 2,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}
