//! The roll itself: which numbers of dice are accepted, and the dice. No I/O.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value};

/// How many dice one call may roll.
pub const N_DICE: RangeInclusive<i64> = 1..=10_000;

/// Where the dice come from.
#[derive(Debug, Default)]
pub enum Roller {
    /// The thread's own generator, seeded by the operating system.
    #[default]
    Random,
    /// The same dice every time, one sequence for the life of the server.
    Seeded(Box<Mutex<StdRng>>),
    /// A defect, for those who say what comes of one.
    #[cfg(test)]
    Broken,
}

impl Roller {
    /// A roller that gives the same sequence of dice for the same `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Rolls `n_dice` 6-sided dice; each result is in `1..=6`.
    pub fn roll(&self, n_dice: usize) -> Vec<u8> {
        match self {
            Self::Random => dice(&mut rand::rng(), n_dice),
            Self::Seeded(rng) => dice(
                &mut *rng.lock().unwrap_or_else(PoisonError::into_inner),
                n_dice,
            ),
            #[cfg(test)]
            Self::Broken => panic!("the dice are gone"),
        }
    }
}

fn dice(rng: &mut impl RngExt, n_dice: usize) -> Vec<u8> {
    (0..n_dice).map(|_| rng.random_range(1..=6)).collect()
}

/// Why the arguments of a call name no number of dice.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum UnusableNDice {
    #[error("n_dice is missing; it must be an integer from {} to {}", N_DICE.start(), N_DICE.end())]
    Missing,
    #[error("n_dice must be an integer from {} to {}, not {given}", N_DICE.start(), N_DICE.end())]
    NotInRange { given: String },
    #[error("roll_dice takes n_dice and nothing else, but was given {name:?}")]
    UnknownArgument { name: String },
}

/// Reads `n_dice` out of the arguments of a `tools/call`.
///
/// Any JSON number without a fraction is an integer, as JSON Schema says: `2.0` is 2. Nothing is
/// allocated in proportion to the number before it is known to be in range.
pub fn n_dice(arguments: &Map<String, Value>) -> Result<usize, UnusableNDice> {
    if let Some(unknown) = arguments.keys().find(|key| *key != "n_dice") {
        return Err(UnusableNDice::UnknownArgument {
            name: shortened(unknown),
        });
    }
    let value = arguments.get("n_dice").ok_or(UnusableNDice::Missing)?;
    let integer = value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // Beyond the range a cast may round, but the result is out of range all the same.
        (number.fract() == 0.0).then_some(number as i64)
    });
    integer
        .filter(|n_dice| N_DICE.contains(n_dice))
        .and_then(|n_dice| usize::try_from(n_dice).ok())
        .ok_or_else(|| UnusableNDice::NotInRange {
            given: shortened(&value.to_string()),
        })
}

/// The start of what a caller sent, so that an answer cannot be made as long as a request.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(arguments: &Value) -> Result<usize, UnusableNDice> {
        n_dice(arguments.as_object().unwrap())
    }

    #[test]
    fn whole_numbers_in_range_are_accepted_however_they_are_written() {
        for (arguments, expected) in [
            (json!({"n_dice": 1}), 1),
            (json!({"n_dice": 2.0}), 2),
            (json!({"n_dice": 1e4}), 10_000),
        ] {
            assert_eq!(parsed(&arguments), Ok(expected));
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_range() {
        for value in [
            json!(0),
            json!(-1),
            json!(10_001),
            json!(u64::MAX),
            json!(1e23),
            json!(-1e300),
            json!(3.5),
            json!("3"),
            json!(true),
            json!(null),
            json!([3]),
        ] {
            let refusal = parsed(&json!({"n_dice": value})).unwrap_err().to_string();
            assert!(
                refusal.starts_with("n_dice must be an integer from 1 to 10000, not "),
                "{refusal}"
            );
        }
        assert_eq!(parsed(&json!({})), Err(UnusableNDice::Missing));
        assert_eq!(
            parsed(&json!({"n_dice": 1, "sides": 20})),
            Err(UnusableNDice::UnknownArgument {
                name: "sides".to_owned()
            })
        );
    }

    #[test]
    fn a_refusal_does_not_repeat_a_long_argument() {
        let refusal = parsed(&json!({"n_dice": "9".repeat(100_000)})).unwrap_err();
        assert!(refusal.to_string().len() < 120);
    }

    #[test]
    fn dice_have_six_sides() {
        let dice = Roller::default().roll(10_000);
        assert_eq!(dice.len(), 10_000);
        for side in 1..=6 {
            assert!(dice.contains(&side), "no {side} in 10,000 dice");
        }
        assert!(dice.iter().all(|side| (1..=6).contains(side)));
    }

    #[test]
    fn a_seed_gives_the_same_dice_again() {
        let (one, two) = (Roller::seeded(7), Roller::seeded(7));
        assert_eq!(one.roll(20), two.roll(20));
        assert_eq!(one.roll(20), two.roll(20));
        assert_ne!(Roller::seeded(8).roll(20), Roller::seeded(7).roll(20));
    }
}
