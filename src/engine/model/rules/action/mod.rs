//! Which tools only read, and which actions a question asks for.
//!
//! A tool that may change something is called only if the question asks for its action: "Add a page
//! break" calls `add_page_break`, "How many page breaks did I add?" does not.

mod lexicon;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use super::pick::{sentences, split_at};
use super::words::{split, stem};
use lexicon::{
    ACTING, ALWAYS_ACTING, COURTESIES, DETERMINERS, LEAD_INS, NEGATIONS, PREPOSITIONS,
    QUESTION_WORDS, READING, STATEMENT_VERBS, SUBORDINATORS, TELLING,
};

/// The action of a tool, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The stem of the verb.
    pub verb: Option<String>,
    pub reads: bool,
}

/// Reads the action off a tool's name: a verb that always acts or is joined with "and" or "or", else
/// the first verb in it that is known, else its first word.
pub fn action(name: &str) -> Action {
    let words = split(name);
    let is = |verbs: &[&str], word: &String| verbs.contains(&word.as_str());
    let known = words
        .iter()
        .position(|word| is(READING, word) || is(ACTING, word));
    let verb = known.unwrap_or(0);
    // `get_or_create_user` creates.
    let joined = words
        .windows(2)
        .find(|pair| matches!(pair[0].as_str(), "and" | "or" | "then") && !is(READING, &pair[1]))
        .map(|pair| &pair[1]);
    // `find_replace` replaces.
    let hidden = || {
        let reads = words.get(verb).is_some_and(|word| is(READING, word));
        let mut rest = words.iter().skip(verb + 1);
        rest.find(|word| reads && is(ALWAYS_ACTING, word))
    };
    let acting = joined.or_else(hidden);
    let verb = acting.or(words.get(verb));
    Action {
        reads: acting.is_none() && verb.is_some_and(|verb| is(READING, verb)),
        verb: verb.map(|word| stem(word)),
    }
}

/// What a question asks to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// The stems of verbs.
    verbs: HashSet<String>,
    /// Tools that are named to be called, in lower case.
    names: HashSet<String>,
}

impl Requested {
    /// Reads the requests of a question: each verb that a clause begins with. `tool_verbs` are the
    /// stems of the verbs of the tools at hand.
    pub fn read(question: &str, tool_verbs: &HashSet<String>) -> Self {
        let mut requested = Self::default();
        for sentence in sentences(question) {
            let end = sentence.as_ptr().addr() - question.as_ptr().addr() + sentence.len();
            let is_question = question[end..].starts_with('?');
            // What follows a colon is a text, unless only a setting precedes it.
            let parts = split_at(sentence, &[], &[':']);
            let introduces = parts.len() > 1 || sentence.trim_end().ends_with(':');
            let is_introduced = introduces && !parts.first().is_some_and(|it| is_frame(it));
            let read = match parts.first() {
                Some(first) if is_introduced => first,
                _ => sentence,
            };
            if !is_negated(sentence) && !is_inquiry(sentence, is_question) {
                requested.take_sentence(read, tool_verbs);
            }
            if is_introduced {
                break;
            }
        }
        requested
    }

    fn take_sentence(&mut self, sentence: &str, tool_verbs: &HashSet<String>) {
        let is_known = |word: &String| {
            READING.contains(&word.as_str())
                || ACTING.contains(&word.as_str())
                || tool_verbs.contains(&stem(word))
        };
        let mut is_first = true;
        for clause in split_at(sentence, &["and", "but", "or", "then"], &[',', ':', ';']) {
            let words = split(clause);
            let end = clause.as_ptr().addr() - sentence.as_ptr().addr() + clause.len();
            let is_cut_off = sentence[end..].starts_with([',', ':']);
            if is_first && is_cut_off && is_frame(clause) {
                continue;
            }
            // "the pages that I should add, remove or update" requests none of it.
            let is_quoted = clause
                .trim_start()
                .starts_with(['"', '\u{201c}', '\u{ab}', '\'', '>']);
            if !is_quoted && (is_first || words.len() > 1) {
                self.take(clause, &words, is_first);
            }
            // "Find out how people read and delete files" requests no deletion.
            let rest = &words[lead_in(&words)..];
            let Some((head, rest)) = rest.split_first() else {
                continue;
            };
            let begins_request = is_known(head) && !TELLING.contains(&head.as_str());
            let has_subject_matter = is_subordinate(head)
                || rest.iter().any(|it| is_subordinate(it))
                || rest.windows(2).any(|it| it[0] == "to" && is_known(&it[1]))
                || matches!(rest, [.., before, last] if is_known(last) && !is_determiner(before));
            if (is_first && !begins_request) || has_subject_matter {
                return;
            }
            is_first = false;
        }
    }

    fn take(&mut self, clause: &str, words: &[String], is_first: bool) {
        let (before, words) = words.split_at(lead_in(words));
        let Some(head) = words.first() else { return };
        let previous = before.last().map(String::as_str);
        let is_gerund = head.ends_with("ing") && stem(head) != *head;
        // "To delete it", "I need delete rights" and "Deleting it" name an action.
        let is_noun = (is_gerund && previous != Some("be"))
            || matches!(previous, Some("want" | "need" | "like"))
            || (is_first && before.len() == 1 && previous == Some("to"));
        if is_noun || is_statement(words) {
            return;
        }
        // What was done is not asked for.
        if !head.ends_with("ed") {
            self.verbs.insert(stem(head));
        }
        let mut tokens = clause
            .split(|it: char| it.is_whitespace() || "`'\"=(".contains(it))
            .map(|token| token.trim_end_matches(['.', ',', ':']).to_lowercase())
            .filter(|token| !token.is_empty())
            .skip_while(|token| !token.starts_with(head.as_str()));
        let first = tokens.next();
        if matches!(head.as_str(), "call" | "use" | "run" | "invoke" | "execute") {
            self.names
                .extend(tokens.find(|it| it != "the" && it != "tool"));
        }
        self.names.extend(first);
    }

    /// Whether the question asks for the action of a tool.
    pub fn asks_for(&self, name: &str, action: &Action) -> bool {
        let verb = action.verb.as_ref();
        verb.is_some_and(|verb| self.verbs.contains(verb))
            || self.names.contains(&name.to_lowercase())
    }
}

/// Whether a sentence has a negation outside of its quotes.
fn is_negated(sentence: &str) -> bool {
    let quoted: Vec<&str> = sentence.split('"').collect();
    let is_balanced = quoted.len() % 2 == 1;
    let unquoted = quoted.iter().step_by(if is_balanced { 2 } else { 1 });
    unquoted.map(|text| split(text)).any(|words| {
        // `don't` is split at its apostrophe.
        words.iter().any(|word| NEGATIONS.contains(&word.as_str()))
            || words
                .windows(2)
                .any(|pair| pair[0].ends_with('n') && pair[1] == "t")
    })
}

/// Whether a sentence asks a question that is not a polite request.
fn is_inquiry(sentence: &str, ends_as_question: bool) -> bool {
    let words = split(sentence);
    let begins_as_question = words
        .first()
        .is_some_and(|word| QUESTION_WORDS.contains(&word.as_str()));
    let polite = &words[..lead_in(&words)];
    (begins_as_question || ends_as_question)
        && !polite.iter().any(|it| it == "you" || it == "please")
}

/// Whether a text is only polite, or says where or when: "In the folder docs", "Hello there".
fn is_frame(text: &str) -> bool {
    let words = split(text);
    let is_polite = words.iter().all(|it| COURTESIES.contains(&it.as_str()));
    let is_setting = words.split_first().is_some_and(|(head, rest)| {
        let tells = |it: &String| {
            is_subordinate(it)
                || STATEMENT_VERBS.contains(&it.as_str())
                || TELLING.contains(&it.as_str())
        };
        PREPOSITIONS.contains(&head.as_str()) && !rest.iter().any(tells)
    });
    is_polite || is_setting
}

/// Whether words that begin with a verb's form state something: "Delete file x failed".
fn is_statement(words: &[String]) -> bool {
    let is_verb = |it: &String| STATEMENT_VERBS.contains(&it.as_str());
    let Some(next) = words.get(1) else {
        return false;
    };
    let subject = words.iter().skip(1).take_while(|it| !is_verb(it));
    let verb = 1 + subject.clone().count();
    verb < words.len()
        && (is_verb(next) || !is_determiner(next))
        && !subject.into_iter().any(|it| is_subordinate(it))
}

fn is_subordinate(word: &str) -> bool {
    SUBORDINATORS.contains(&word)
}

fn is_determiner(word: &str) -> bool {
    DETERMINERS.contains(&word)
}

/// How many words at the beginning only introduce a request.
fn lead_in(words: &[String]) -> usize {
    let mut length = 0;
    while let Some(more) = LEAD_INS.iter().find(|lead_in| {
        let rest = &words[length..];
        rest.len() > lead_in.len() && rest.iter().zip(**lead_in).all(|(word, of)| word == of)
    }) {
        length += more.len();
    }
    length
}
