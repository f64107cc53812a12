//! `Work`: how much may be spent on schemas, for one of them or for a whole list of tools.

/// How many steps one schema may take. A step is a subschema that is visited, a reference that is
/// followed, or 64 bytes that are copied; real tools take tens to hundreds.
const OF_SCHEMA: u64 = 20_000;
/// How many steps the schemas of a list of tools may take together.
const OF_LIST: u64 = 500_000;
/// How many bytes are copied in one step.
const BYTES_PER_STEP: u64 = 64;

/// The steps that are left.
#[derive(Debug)]
pub struct Work {
    left: u64,
    of_list: u64,
}

/// A schema, or the list that it is part of, takes more work than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its inputSchema is too large: it takes more than {OF_SCHEMA} steps")]
pub struct TooLarge;

impl Work {
    /// The work for the schema of one tool.
    pub fn of_schema() -> Self {
        Self::new(OF_SCHEMA)
    }

    /// The work for a list of tools: [`Self::next_schema`] begins each of them.
    pub fn of_list() -> Self {
        Self {
            left: 0,
            of_list: OF_LIST,
        }
    }

    /// So many steps.
    pub fn new(steps: u64) -> Self {
        Self {
            left: steps,
            of_list: 0,
        }
    }

    /// Begins another schema of a list: it may take as much as any other, if the list has that left.
    pub fn next_schema(&mut self) {
        self.of_list += self.left;
        self.left = self.of_list.min(OF_SCHEMA);
        self.of_list -= self.left;
    }

    /// Whether no steps are left: what came of the work may be less than there was to do.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Spends so many steps.
    ///
    /// # Errors
    /// [`TooLarge`] if fewer are left; then none are.
    pub fn spend(&mut self, steps: u64) -> Result<(), TooLarge> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(TooLarge)
            }
        }
    }

    /// Spends what copying so many bytes takes.
    ///
    /// # Errors
    /// [`TooLarge`] if that is more than is left.
    pub fn copy(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.spend(bytes as u64 / BYTES_PER_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_work_for_many_schemas_and_each_has_its_limit() {
        let mut work = Work::of_list();
        for _ in 0..OF_LIST / OF_SCHEMA {
            work.next_schema();
            work.spend(OF_SCHEMA).unwrap();
            assert_eq!(work.spend(1), Err(TooLarge));
        }
        work.next_schema();
        assert_eq!(work.spend(1), Err(TooLarge), "the list has no work left");
    }

    #[test]
    fn what_a_small_schema_leaves_is_for_the_others() {
        let mut work = Work::of_list();
        for _ in 0..OF_LIST {
            work.next_schema();
            work.spend(1).unwrap();
        }
        work.next_schema();
        assert_eq!(work.spend(1), Err(TooLarge));
    }

    #[test]
    fn bytes_are_work() {
        let mut work = Work::new(2);
        work.copy(63).unwrap();
        work.copy(128).unwrap();
        assert_eq!(work.copy(64), Err(TooLarge));
    }
}
