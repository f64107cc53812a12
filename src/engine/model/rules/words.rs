//! Words, and what is left of them when their endings are gone.

/// Words that say nothing of what is wanted.
const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "do",
    "does", "for", "from", "give", "how", "i", "in", "into", "is", "it", "its", "let", "like",
    "me", "my", "now", "number", "of", "off", "on", "or", "our", "please", "return", "should",
    "so", "some", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
    "those", "to", "up", "us", "use", "using", "want", "was", "we", "what", "when", "where",
    "which", "who", "will", "with", "would", "you", "your",
];

/// Whether a word, in lower case, says nothing of what is wanted.
pub fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// The stems of all words in a text or an identifier: `rollDice`, `roll_dice` and `rolling dice`
/// have the same. Stop words are left out.
pub fn stems(text: &str) -> Vec<String> {
    split(text)
        .into_iter()
        .filter(|word| !is_stop_word(word))
        .map(|word| stem(&word))
        .collect()
}

/// The words of a text or an identifier, in lower case: split where a letter or digit is followed
/// by none, and where `camelCase` turns.
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for character in text.chars() {
        let ends_word = !character.is_alphanumeric() || (was_lower && character.is_uppercase());
        if ends_word && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        match character {
            'a'..='z' | '0'..='9' => word.push(character),
            'A'..='Z' => word.push(character.to_ascii_lowercase()),
            _ if character.is_alphanumeric() => word.extend(character.to_lowercase()),
            _ => {}
        }
        was_lower = character.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The word without its ending, so that `rolled`, `rolling` and `rolls` are the same. It is no
/// word of any language, only the same for the same word.
pub fn stem(word: &str) -> String {
    if word == "dice" {
        return "die".to_owned();
    }
    let without = |ending: &str, shortest: usize| {
        word.strip_suffix(ending)
            .filter(|rest| rest.chars().count() >= shortest)
    };
    let mut stem = if let Some(rest) = without("ies", 2) {
        format!("{rest}y")
    } else if let Some(rest) = without("ing", 3).or_else(|| without("ed", 3)) {
        undoubled(rest).to_owned()
    } else if word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") {
        word.to_owned()
    } else {
        without("s", 2).unwrap_or(word).to_owned()
    };
    // `create` and `creating`, `searches` and `search`.
    if stem.chars().count() > 3 && stem.ends_with('e') {
        stem.pop();
    }
    stem
}

/// `flipp` is `flip`; `roll`, `pass` and `buzz` are as they should be.
fn undoubled(stem: &str) -> &str {
    let mut backwards = stem.chars().rev();
    match (backwards.next(), backwards.next()) {
        (Some(last), Some(before)) if last == before && !"lsz".contains(last) => {
            &stem[..stem.len() - last.len_utf8()]
        }
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stop_words_can_be_searched() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn identifiers_and_prose_are_split_into_the_same_words() {
        for text in [
            "rollDice",
            "roll_dice",
            "roll-dice",
            "Roll dice",
            "roll.dice",
            "RollDice",
        ] {
            assert_eq!(split(text), ["roll", "dice"], "{text}");
        }
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for forms in [
            &["roll", "rolls", "rolled", "rolling"][..],
            &["die", "dice"],
            &["search", "searches", "searched", "searching"],
            &["create", "creates", "created", "creating"],
            &["flip", "flips", "flipped", "flipping"],
            &["query", "queries"],
            &["issue", "issues"],
            &["file", "files"],
        ] {
            for form in forms {
                assert_eq!(stem(form), stem(forms[0]), "{form}");
            }
        }
    }
}
