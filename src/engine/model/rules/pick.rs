//! Which tool a question, or a clause of it, is about.

use std::collections::{HashMap, HashSet};

use super::Tool;
use super::action::{Action, Requested, action};
use super::words::{split, stem, stems};
use crate::schema::Work;

/// How much more a word counts in a tool's name than in its description.
const NAME_WEIGHT: f64 = 4.0;
/// A question with more clauses than this is read as one.
const MOST_CLAUSES: usize = 50;
/// How many bytes of a name, of a description, and of all descriptions of a list are read: what
/// tells tools apart stands in front, and a server may send any number of words.
const NAME_BYTES: usize = 256;
pub(super) const DESCRIPTION_BYTES: usize = 4_000;
const ALL_DESCRIPTION_BYTES: usize = 2 * 1024 * 1024;

/// The words of all tools, ready to be matched.
pub struct Catalogue {
    entries: Vec<Entry>,
    /// The tools that a stem occurs in: the fewer, the more it says.
    tools_with: HashMap<String, Vec<usize>>,
    by_name: HashMap<String, usize>,
    /// The stems of the verbs of all tools.
    verbs: HashSet<String>,
}

struct Entry {
    whole_name: String,
    name: HashSet<String>,
    description: HashSet<String>,
    action: Action,
    reads: bool,
    /// Whether it reads, or the question asks for its action.
    is_free: bool,
}

/// A part of the question, and the tool that it is about.
#[derive(Debug, PartialEq)]
pub struct Clause<'a> {
    pub text: &'a str,
    pub tool: usize,
}

impl Catalogue {
    /// The words of `tools`. A tool that only reads may always be called, any other one only if
    /// `question` asks for its action.
    pub fn new(tools: &[Tool<'_>], question: &str) -> Self {
        let actions = tools
            .iter()
            .map(|tool| action(start(tool.name, NAME_BYTES)));
        let verbs = actions.filter_map(|action| action.verb).collect();
        let requested = Requested::read(question, &verbs);
        let mut bytes_left = ALL_DESCRIPTION_BYTES;
        let mut entry = |tool: &Tool<'_>| {
            let name = start(tool.name, NAME_BYTES);
            let description = tool.description.unwrap_or_default();
            let description = start(description, DESCRIPTION_BYTES.min(bytes_left));
            bytes_left -= description.len();
            let action = action(name);
            // What a server says of a tool counts more than the tool's name.
            let reads = tool.is_read_only.unwrap_or(action.reads);
            Entry {
                whole_name: name.to_owned(),
                name: stems(name).into_iter().collect(),
                description: stems(description).into_iter().collect(),
                is_free: reads || requested.asks_for(name, &action),
                reads,
                action,
            }
        };
        let entries: Vec<Entry> = tools.iter().map(&mut entry).collect();
        let mut tools_with: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for stem in entry.name.union(&entry.description) {
                tools_with.entry(stem.clone()).or_default().push(index);
            }
        }
        let mut by_name = HashMap::new();
        for (index, tool) in tools.iter().enumerate() {
            by_name
                .entry(start(tool.name, NAME_BYTES).to_lowercase())
                .or_insert(index);
        }
        Self {
            entries,
            tools_with,
            by_name,
            verbs,
        }
    }

    /// The tool whose words the text has, if they are enough: its name, a word of its name, or two
    /// of its description. Of tools that may be called, unless `may_act`.
    pub fn best(&self, text: &str, may_act: bool, work: &mut Work) -> Option<usize> {
        let forbidden = forbidden(text);
        let may_be_called = |tool: usize| {
            let Entry {
                action, is_free, ..
            } = &self.entries[tool];
            let is_forbidden = action
                .verb
                .as_ref()
                .is_some_and(|it| forbidden.contains(it));
            !is_forbidden && (may_act || *is_free)
        };
        if let Some(tool) = self.named(text).filter(|tool| may_be_called(*tool)) {
            return Some(tool);
        }
        let said: HashSet<String> = stems(text).into_iter().collect();
        let mut scores: HashMap<usize, (f64, usize, usize)> = HashMap::new();
        for stem in &said {
            let tools = self.tools_with.get(stem).map_or(&[][..], Vec::as_slice);
            // A long question about many tools is read as far as it goes.
            if work.spend(1 + tools.len() as u64).is_err() {
                break;
            }
            let weight = 1.0 / tools.len().max(1) as f64;
            for tool in tools.iter().filter(|tool| may_be_called(**tool)) {
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
        scores
            .into_iter()
            .filter(|(_, (_, in_name, in_description))| *in_name >= 1 || *in_description >= 2)
            .map(|(tool, (score, in_name, _))| {
                // Of `read_file` and `read_file_lines`, the shorter is meant by "read the file".
                let unsaid = self.entries[tool].name.len() - in_name;
                (tool, score - unsaid as f64 / 10.0)
            })
            .max_by(|(one, left), (other, right)| left.total_cmp(right).then(other.cmp(one)))
            .map(|(tool, _)| tool)
    }

    /// Whether a sentence with these requests may call a tool.
    fn allows(&self, tool: usize, requested: &Requested) -> bool {
        let entry = &self.entries[tool];
        entry.reads || requested.asks_for(&entry.whole_name, &entry.action)
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

    /// The best tool, if the text says what it does: the verb of its name.
    fn led(&self, text: &str, work: &mut Work) -> Option<usize> {
        let tool = self.best(text, false, work)?;
        let verb = self.entries[tool].action.verb.as_ref()?;
        let says_verb = split(text).iter().any(|word| stem(word) == *verb);
        says_verb.then_some(tool)
    }
}

/// The first `most` bytes of a text, or a little less.
pub(super) fn start(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
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
pub fn clauses<'a>(question: &'a str, catalogue: &Catalogue, work: &mut Work) -> Vec<Clause<'a>> {
    let steps: Vec<(&str, &str)> = sentences(question)
        .into_iter()
        .flat_map(|sentence| {
            let steps = split_at(sentence, &["then"], &[';']);
            steps.into_iter().map(move |step| (sentence, step))
        })
        .collect();
    if steps.len() > MOST_CLAUSES {
        return Vec::new();
    }
    let mut clauses = Vec::new();
    for (sentence, step) in steps {
        // "Delete a.txt. Explain who deletes b.txt." requests one deletion.
        let requested = Requested::read(sentence, &catalogue.verbs);
        let mut led = |text: &str| {
            let tool = catalogue.led(text, work)?;
            catalogue.allows(tool, &requested).then_some(tool)
        };
        let parts = split_at(step, &["and"], &[]);
        let tools: Vec<Option<usize>> = match parts.len() {
            ..=MOST_CLAUSES => parts.iter().map(|part| led(part)).collect(),
            _ => Vec::new(),
        };
        // "add 2 and 3" stays whole, "roll 2 dice and flip 3 coins" does not.
        if tools.len() > 1 && tools.iter().all(Option::is_some) {
            let parts = parts.iter().zip(tools);
            clauses.extend(parts.filter_map(|(text, tool)| Some(Clause { text, tool: tool? })));
        } else if let Some(tool) = led(step) {
            clauses.push(Clause { text: step, tool });
        }
    }
    clauses
}

/// The sentences of a text. A line is one as well.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    split_at(text, &[], &['.', '!', '?', '\n'])
}

/// Splits a text at whole words and at characters that end a clause, outside of quotes. A `.` ends
/// one only before white space or the end.
pub(super) fn split_at<'a>(text: &'a str, words: &[&str], ends: &[char]) -> Vec<&'a str> {
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
