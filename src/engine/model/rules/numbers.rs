//! Numbers in a question: digits, dice notation, and words such as "a few".

use serde_json::{Number, Value};

use super::tokens::{Kind, Token};

/// A number, and the tokens that say it.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub value: Number,
    /// The index of the first token.
    pub at: usize,
    /// How many tokens.
    pub length: usize,
    /// Only an article: 1 if nothing else is said.
    pub is_weak: bool,
}

const WORDS: &[(&str, i64)] = &[
    ("zero", 0),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
    ("thousand", 1000),
    ("dozen", 12),
    ("once", 1),
    ("twice", 2),
    ("thrice", 3),
    ("couple", 2),
    ("pair", 2),
    ("both", 2),
    ("few", 3),
    ("some", 3),
    ("several", 3),
];

/// All numbers of a question, in order. What is quoted is no number.
pub fn find(tokens: &[Token<'_>]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match one(tokens, at) {
            Some(number) => {
                at += number.length;
                found.push(number);
            }
            None => at += 1,
        }
    }
    found
}

fn one(tokens: &[Token<'_>], at: usize) -> Option<Found> {
    let word = |offset: usize| {
        tokens
            .get(at + offset)
            .filter(|token| token.kind == Kind::Word)
            .map(|token| token.text.to_lowercase())
    };
    let found = |value: i64, length| Found {
        value: value.into(),
        at,
        length,
        is_weak: false,
    };
    let first = word(0)?;
    if let Some(value) = digits(&first) {
        return Some(Found {
            value,
            at,
            length: 1,
            is_weak: false,
        });
    }
    let second = word(1).unwrap_or_default();
    match first.as_str() {
        "half" if second == "a" && word(2).as_deref() == Some("dozen") => Some(found(6, 3)),
        "a" | "an" | "single" => match named(&second) {
            Some(value) if !matches!(second.as_str(), "one" | "once") => Some(found(value, 2)),
            _ => Some(Found {
                value: 1.into(),
                at,
                length: 1,
                is_weak: true,
            }),
        },
        _ => {
            let value = named(&first)?;
            match named(&second) {
                // "twenty five", "three hundred", "two dozen"
                Some(unit) if (20..100).contains(&value) && (1..10).contains(&unit) => {
                    Some(found(value + unit, 2))
                }
                Some(unit) if unit >= 100 || second == "dozen" => Some(found(value * unit, 2)),
                _ => Some(found(value, 1)),
            }
        }
    }
}

/// The value of a number word, also with a hyphen: `twenty-five`.
fn named(word: &str) -> Option<i64> {
    let value = |word: &str| {
        let entry = WORDS.iter().find(|(name, _)| *name == word);
        entry.map(|(_, value)| *value)
    };
    value(word).or_else(|| {
        let (tens, unit) = word.split_once('-')?;
        let (tens, unit) = (value(tens)?, value(unit)?);
        ((20..100).contains(&tens) && (1..10).contains(&unit)).then_some(tens + unit)
    })
}

/// `5`, `-2.5`, `1e3`, `1,000`, `$5`, `50%`; of `2d6` the 2.
fn digits(word: &str) -> Option<Number> {
    let bare = word
        .trim_start_matches(['$', '\u{20ac}', '\u{a3}', '#'])
        .trim_end_matches('%');
    if let Some((count, sides)) = bare.split_once('d')
        && !count.is_empty()
        && !sides.is_empty()
        && count.bytes().all(|it| it.is_ascii_digit())
        && sides.bytes().next().is_some_and(|it| it.is_ascii_digit())
    {
        return count.parse::<u64>().ok().map(Number::from);
    }
    let bare = bare.strip_prefix('+').unwrap_or(bare);
    let plain = without_separators(bare)?;
    let starts_well = plain
        .trim_start_matches('-')
        .starts_with(|it: char| it.is_ascii_digit());
    if !starts_well {
        return None;
    }
    match serde_json::from_str(&plain) {
        Ok(Value::Number(number)) => Some(number),
        // JSON knows no `007`.
        _ => plain.parse::<i64>().ok().map(Number::from),
    }
}

/// `1,000` as `1000`; nothing for commas elsewhere.
fn without_separators(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let mut plain = first.to_owned();
    for group in groups {
        let whole = group.split('.').next()?;
        if whole.len() != 3 || !whole.bytes().all(|it| it.is_ascii_digit()) {
            return None;
        }
        plain.push_str(group);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    fn numbers(question: &str) -> Vec<String> {
        find(&tokens(question))
            .iter()
            .map(|found| match found.is_weak {
                true => format!("({})", found.value),
                false => found.value.to_string(),
            })
            .collect()
    }

    #[test]
    fn numbers_are_read_however_they_are_written() {
        for (question, expected) in [
            ("5 or -2.5 or 1e3", &["5", "-2.5", "1000.0"][..]),
            ("1,000 and 12,345.5", &["1000", "12345.5"]),
            ("2d6 and 3d8+1", &["2", "3"]),
            ("a few", &["3"]),
            ("a couple of dozen", &["2", "12"]),
            ("half a dozen", &["6"]),
            ("two dozen", &["24"]),
            ("twenty five or twenty-five", &["25", "25"]),
            ("three hundred", &["300"]),
            ("a die", &["(1)"]),
            ("a dozen", &["12"]),
            ("$5 and 50%", &["5", "50"]),
            ("the 3rd, 1st and v2", &[]),
            ("say \"5\" and 007", &["7"]),
            ("99999999999999999999", &["1e+20"]),
        ] {
            assert_eq!(numbers(question), expected, "{question}");
        }
    }
}
