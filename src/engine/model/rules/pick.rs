//! Which tool a question, or a clause of it, is about.

use std::collections::{HashMap, HashSet};

use super::Tool;
use super::words::{split, stem, stems};

/// How much more a word counts in a tool's name than in its description.
const NAME_WEIGHT: f64 = 4.0;
/// A question with more clauses than this is read as one.
const MOST_CLAUSES: usize = 50;

/// The words of all tools, ready to be matched.
pub struct Catalogue {
    entries: Vec<Entry>,
    /// In how many tools a stem occurs: the fewer, the more it says.
    spread: HashMap<String, usize>,
    /// The tools that a stem occurs in.
    tools_with: HashMap<String, Vec<usize>>,
    by_name: HashMap<String, usize>,
}

struct Entry {
    name: HashSet<String>,
    description: HashSet<String>,
    /// The first word of the name: what the tool does.
    verb: Option<String>,
}

/// A part of the question, and the tool that it is about.
#[derive(Debug, PartialEq)]
pub struct Clause<'a> {
    pub text: &'a str,
    pub tool: usize,
}

impl Catalogue {
    pub fn new(tools: &[Tool<'_>]) -> Self {
        let entries: Vec<Entry> = tools
            .iter()
            .map(|tool| Entry {
                name: stems(tool.name).into_iter().collect(),
                description: stems(tool.description.unwrap_or("")).into_iter().collect(),
                verb: split(tool.name).first().map(|word| stem(word)),
            })
            .collect();
        let mut spread: HashMap<String, usize> = HashMap::new();
        let mut tools_with: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for stem in entry.name.union(&entry.description) {
                *spread.entry(stem.clone()).or_default() += 1;
                tools_with.entry(stem.clone()).or_default().push(index);
            }
        }
        let mut by_name = HashMap::new();
        for (index, tool) in tools.iter().enumerate() {
            by_name.entry(tool.name.to_lowercase()).or_insert(index);
        }
        Self {
            entries,
            spread,
            tools_with,
            by_name,
        }
    }

    /// The tool whose words the text has, if they are enough: its name, a word of its name, or two
    /// of its description.
    pub fn best(&self, text: &str) -> Option<usize> {
        if let Some(tool) = self.named(text) {
            return Some(tool);
        }
        let said: HashSet<String> = stems(text).into_iter().collect();
        let mut scores: HashMap<usize, (f64, usize, usize)> = HashMap::new();
        for stem in &said {
            let weight = self
                .spread
                .get(stem)
                .map_or(0.0, |spread| 1.0 / *spread as f64);
            for tool in self.tools_with.get(stem).into_iter().flatten() {
                let (score, in_name, in_description) = scores.entry(*tool).or_default();
                if self.entries[*tool].name.contains(stem) {
                    *score += NAME_WEIGHT + weight;
                    *in_name += 1;
                } else {
                    *score += 1.0 + weight;
                    *in_description += 1;
                }
            }
        }
        let forbidden = forbidden(text);
        scores
            .into_iter()
            .filter(|(tool, _)| {
                let verb = self.entries[*tool].verb.as_ref();
                !verb.is_some_and(|verb| forbidden.contains(verb))
            })
            .filter(|(_, (_, in_name, in_description))| *in_name >= 1 || *in_description >= 2)
            .map(|(tool, (score, in_name, _))| {
                // Of `read_file` and `read_file_lines`, the shorter is meant by "read the file".
                let unsaid = self.entries[tool].name.len() - in_name;
                (tool, score - unsaid as f64 / 10.0)
            })
            .max_by(|(one, left), (other, right)| left.total_cmp(right).then(other.cmp(one)))
            .map(|(tool, _)| tool)
    }

    /// The tool whose whole name the text has.
    fn named(&self, text: &str) -> Option<usize> {
        let is_part = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | '.' | '/');
        text.split(|it| !is_part(it))
            .map(|word| word.trim_end_matches('.').to_lowercase())
            // A name of one plain word, such as `add`, is a word of the language as well.
            .filter(|word| word.contains(['_', '-', '.', '/']))
            .find_map(|word| self.by_name.get(&word).copied())
    }

    /// The best tool, if the text says what it does: the first word of its name.
    fn led(&self, text: &str) -> Option<usize> {
        let tool = self.best(text)?;
        let verb = self.entries[tool].verb.as_ref()?;
        let says_verb = split(text).iter().any(|word| stem(word) == *verb);
        says_verb.then_some(tool)
    }
}

/// The stems of the words that a no stands before: "don't delete", "do not ever roll".
fn forbidden(text: &str) -> HashSet<String> {
    // `don't` is split at its apostrophe.
    let words = split(text);
    let is_no = |at: usize| match words[at].as_str() {
        "not" | "never" | "dont" | "cannot" | "without" => true,
        "t" => {
            at > 0
                && matches!(
                    words[at - 1].as_str(),
                    "don" | "didn" | "shouldn" | "mustn" | "won"
                )
        }
        _ => false,
    };
    let nos = (0..words.len()).filter(|&at| is_no(at));
    nos.flat_map(|at| words[at + 1..].iter().take(2).map(|word| stem(word)))
        .collect()
}

/// The clauses of a question that say what a tool does. A question without such a clause has none;
/// it is for [`Catalogue::best`] as a whole.
pub fn clauses<'a>(question: &'a str, catalogue: &Catalogue) -> Vec<Clause<'a>> {
    let sentences = split_at(question, &["then"], &['.', '!', '?', ';', '\n']);
    if sentences.len() > MOST_CLAUSES {
        return Vec::new();
    }
    let mut clauses = Vec::new();
    for sentence in sentences {
        let parts = split_at(sentence, &["and"], &[]);
        let led: Vec<Option<usize>> = match parts.len() {
            ..=MOST_CLAUSES => parts.iter().map(|part| catalogue.led(part)).collect(),
            _ => Vec::new(),
        };
        // "add 2 and 3" stays whole, "roll 2 dice and flip 3 coins" does not.
        if led.len() > 1 && led.iter().all(Option::is_some) {
            let parts = parts.iter().zip(led);
            clauses.extend(parts.filter_map(|(text, tool)| Some(Clause { text, tool: tool? })));
        } else if let Some(tool) = catalogue.led(sentence) {
            clauses.push(Clause {
                text: sentence,
                tool,
            });
        }
    }
    clauses
}

/// Splits a text at whole words and at characters that end a clause, outside of quotes. A `.` ends
/// one only before white space or the end.
fn split_at<'a>(text: &'a str, words: &[&str], ends: &[char]) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut is_quoted = false;
    let mut characters = text.char_indices().peekable();
    let mut word_start = 0;
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match character {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            _ if ends.contains(&character)
                && (character == '\n'
                    || character == ';'
                    || next.is_none_or(char::is_whitespace)) =>
            {
                parts.push(&text[start..at]);
                start = at + character.len_utf8();
            }
            _ => {}
        }
        let ends_word = next.is_none_or(|next| !next.is_alphanumeric());
        if !is_quoted && character.is_alphanumeric() && ends_word {
            let end = at + character.len_utf8();
            if words.contains(&&text[word_start..end]) && word_start >= start {
                parts.push(&text[start..word_start]);
                start = end;
            }
        }
        if !character.is_alphanumeric() {
            word_start = at + character.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| part.contains(char::is_alphanumeric));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_between_words_and_outside_of_quotes() {
        for (text, expected) in [
            ("a and b", &["a ", " b"][..]),
            ("sand and band", &["sand ", " band"]),
            ("\"a and b\" and c", &["\"a and b\" ", " c"]),
            ("and", &[]),
        ] {
            assert_eq!(split_at(text, &["and"], &[]), expected, "{text}");
        }
        assert_eq!(
            split_at("Read a.txt. Go; stop!\nNow", &[], &['.', '!', ';', '\n']),
            ["Read a.txt", " Go", " stop", "Now"]
        );
    }
}
