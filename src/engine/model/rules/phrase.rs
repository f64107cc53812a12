//! Results into sentences.

use serde_json::{Map, Value};

use super::words::split;
use crate::budget::parse_within;

/// The most bytes that an output takes once it is parsed; a larger one is repeated as it is.
const MOST_PARSED: u64 = 4 * 1024 * 1024;
/// The most bytes of an object that is indented: nested deeply, it becomes a hundred times as long.
const MOST_INDENTED: usize = 8 * 1024;

/// A call that is over.
pub struct Done<'a> {
    pub name: &'a str,
    pub arguments: &'a Map<String, Value>,
    pub outcome: Outcome<'a>,
}

/// What became of a call.
pub enum Outcome<'a> {
    /// The text of the tool's result.
    Output(&'a str),
    /// Why there is no result.
    Failed(&'a str),
    /// The call was not approved, and not made.
    Denied,
}

/// The past tense of the verbs that tools begin with: what a person would say they did.
const VERBS: &[(&str, &str)] = &[
    ("build", "built"),
    ("buy", "bought"),
    ("calculate", "calculated"),
    ("choose", "chose"),
    ("compute", "computed"),
    ("count", "counted"),
    ("create", "created"),
    ("draw", "drew"),
    ("fetch", "fetched"),
    ("find", "found"),
    ("flip", "flipped"),
    ("generate", "generated"),
    ("get", "got"),
    ("list", "listed"),
    ("make", "made"),
    ("measure", "measured"),
    ("pick", "picked"),
    ("query", "queried"),
    ("read", "read"),
    ("roll", "rolled"),
    ("sample", "sampled"),
    ("search", "searched"),
    ("select", "selected"),
    ("shuffle", "shuffled"),
    ("sort", "sorted"),
    ("spin", "spun"),
    ("take", "took"),
    ("throw", "threw"),
    ("toss", "tossed"),
];

/// One sentence a call, each on a line of its own.
pub fn phrase(calls: &[Done<'_>]) -> String {
    let mut sentences = calls.iter().map(sentence);
    // The sentence of one call, which can be long, is not copied.
    let mut text = sentences.next().unwrap_or_default();
    for sentence in sentences {
        text.push('\n');
        text.push_str(&sentence);
    }
    text
}

fn sentence(call: &Done<'_>) -> String {
    let name = call.name;
    match call.outcome {
        Outcome::Denied => format!("I did not call `{name}`, because the call was not approved."),
        Outcome::Failed(why) => format!("`{name}` failed: {}", why.trim_end()),
        Outcome::Output(output) => match unwrapped(output) {
            Some(Value::Array(list)) if list.iter().all(is_scalar) => results(call, &list),
            Some(Value::Object(object)) if output.len() <= MOST_INDENTED => {
                format!("`{name}` answered:\n{:#}", Value::Object(object))
            }
            Some(scalar) if is_scalar(&scalar) => answered(name, &plain(&scalar)),
            _ => answered(name, output),
        },
    }
}

/// The output as JSON, if it is and is not too large; `{"result": ...}` is what is in it.
fn unwrapped(output: &str) -> Option<Value> {
    match parse_within(output, MOST_PARSED)? {
        Value::Object(mut object) if object.len() == 1 && object.contains_key("result") => {
            object.remove("result")
        }
        value => Some(value),
    }
}

fn answered(name: &str, text: &str) -> String {
    let text = text.trim_end();
    match text {
        "" => format!("`{name}` answered nothing."),
        text if text.contains('\n') => format!("`{name}` answered:\n{text}"),
        text => format!("`{name}` answered: {text}"),
    }
}

/// A list: what was done to how many of what, and what came of it.
fn results(call: &Done<'_>, list: &[Value]) -> String {
    let Some(done) = what_was_done(call, list.len()) else {
        let listed = match list {
            [] => String::new(),
            list => enumerated(list),
        };
        return answered(call.name, &listed);
    };
    match list {
        [] => format!("You {done} and got no results."),
        [only] => format!("You {done} and got the following result: {}!", plain(only)),
        list => format!(
            "You {done} and got the following results: {}!",
            enumerated(list)
        ),
    }
}

/// `rolled 3 dice`, for a tool that is named by a verb and what it is done to.
fn what_was_done(call: &Done<'_>, length: usize) -> Option<String> {
    let words = split(call.name);
    let (verb, object) = words
        .split_first()
        .filter(|(_, object)| !object.is_empty())?;
    let (_, past) = VERBS.iter().find(|(known, _)| known == verb)?;
    let object = object.join(" ");
    let mut integers = call.arguments.values().filter_map(Value::as_u64);
    let is_count = integers.next() == u64::try_from(length).ok() && integers.next().is_none();
    Some(match (is_count, length) {
        (true, 1) => format!("{past} 1 {}", singular(&object)),
        (true, _) => format!("{past} {length} {}", plural(&object)),
        (false, _) if length == 0 => format!("{past} 0 {}", plural(&object)),
        (false, _) => format!("{past} {object}"),
    })
}

fn singular(noun: &str) -> String {
    match noun.strip_suffix("dice") {
        Some(before) => format!("{before}die"),
        None if noun.ends_with("ss") => noun.to_owned(),
        None => noun.strip_suffix('s').unwrap_or(noun).to_owned(),
    }
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix("die") {
        Some(before) => format!("{before}dice"),
        None if noun.ends_with("dice") || noun.ends_with('s') => noun.to_owned(),
        None => format!("{noun}s"),
    }
}

/// `6, 4, and 2`.
fn enumerated(list: &[Value]) -> String {
    let texts: Vec<String> = list.iter().map(plain).collect();
    match texts.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [one, two] => format!("{one} and {two}"),
        [most @ .., last] => format!("{}, and {last}", most.join(", ")),
    }
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(name: &str, arguments: &Value, output: &str) -> String {
        phrase(&[Done {
            name,
            arguments: arguments.as_object().unwrap(),
            outcome: Outcome::Output(output),
        }])
    }

    #[test]
    fn results_become_a_sentence() {
        for (name, arguments, output, expected) in [
            (
                "roll_dice",
                json!({"n_dice": 3}),
                "[6,4,2]",
                "You rolled 3 dice and got the following results: 6, 4, and 2!",
            ),
            (
                "roll_dice",
                json!({"n_dice": 2}),
                "{\"result\": [6,4]}",
                "You rolled 2 dice and got the following results: 6 and 4!",
            ),
            (
                "rollDice",
                json!({"n": 1}),
                "[6]",
                "You rolled 1 die and got the following result: 6!",
            ),
            (
                "roll_dice",
                json!({"n_dice": 0}),
                "[]",
                "You rolled 0 dice and got no results.",
            ),
            (
                "flip_coin",
                json!({"times": 2}),
                "[\"heads\",\"tails\"]",
                "You flipped 2 coins and got the following results: heads and tails!",
            ),
            (
                "draw_cards",
                json!({"from": "deck"}),
                "[\"A\",\"K\",\"Q\"]",
                "You drew cards and got the following results: A, K, and Q!",
            ),
            (
                "primes",
                json!({"below": 6}),
                "[2,3,5]",
                "`primes` answered: 2, 3, and 5",
            ),
            ("add", json!({"a": 2, "b": 3}), "5", "`add` answered: 5"),
            (
                "greet",
                json!({}),
                "Hello, Ada!",
                "`greet` answered: Hello, Ada!",
            ),
            ("greet", json!({}), "\"Hello\"", "`greet` answered: Hello"),
            (
                "read_file",
                json!({}),
                "one\ntwo\n",
                "`read_file` answered:\none\ntwo",
            ),
            (
                "get_user",
                json!({}),
                "{\"name\":\"Ada\"}",
                "`get_user` answered:\n{\n  \"name\": \"Ada\"\n}",
            ),
            (
                "list_users",
                json!({}),
                "[{\"name\":\"Ada\"}]",
                "`list_users` answered: [{\"name\":\"Ada\"}]",
            ),
            ("notify", json!({}), "", "`notify` answered nothing."),
            ("is_up", json!({}), "true", "`is_up` answered: true"),
        ] {
            assert_eq!(said(name, &arguments, output), expected);
        }
    }

    #[test]
    fn an_output_that_would_grow_is_repeated_as_it_is() {
        let nested = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(100) + &"0,".repeat(5000),
            "0".to_owned() + &"]".repeat(100)
        );
        let many = format!("[{}[0]]", "[0],".repeat(100_000));
        for output in [nested, many] {
            let said = said("get_it", &json!({}), &output);
            assert_eq!(said, format!("`get_it` answered: {output}"));
        }
    }

    #[test]
    fn failures_and_refusals_are_told_each_on_a_line() {
        let arguments = Map::new();
        let done = |outcome| Done {
            name: "roll_dice",
            arguments: &arguments,
            outcome,
        };
        assert_eq!(
            phrase(&[done(Outcome::Failed("too many\n")), done(Outcome::Denied)]),
            "`roll_dice` failed: too many\nI did not call `roll_dice`, because the call was not approved."
        );
    }
}
