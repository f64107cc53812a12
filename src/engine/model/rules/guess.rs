//! The most likely words of a question for a text that is neither named nor quoted.

use std::ops::Range;

use serde_json::Value;

use super::arguments::{Property, Reader};
use super::tokens::Kind as TokenKind;
use super::words::{is_stop_word, split, stem};

/// Properties that want the question itself.
const QUESTIONS: &[&str] = &["prompt", "q", "query", "question", "search", "topic"];

impl Reader<'_, '_> {
    /// What an unquoted text most likely is: the question itself where one is wanted, or else a
    /// name, what stands behind the last preposition, the words that are left.
    pub(super) fn guess(&mut self, property: &Property<'_>, is_only_string: bool) -> Option<Value> {
        if QUESTIONS.contains(&property.name.to_lowercase().as_str()) {
            self.used.fill(true);
            return Some(self.text.trim().into());
        }
        if !is_only_string {
            return None;
        }
        let range = self
            .proper_name()
            .or_else(|| self.behind_preposition())
            .or_else(|| self.rest())?;
        self.used[range.clone()].fill(true);
        let words: Vec<&str> = self.tokens[range].iter().map(|it| it.text).collect();
        Some(words.join(" ").into())
    }

    /// The last run of capitalised words that are not so because a sentence begins.
    fn proper_name(&self) -> Option<Range<usize>> {
        let is_part = |at: usize| {
            let token = &self.tokens[at];
            self.is_free_word(at)
                && !token.begins_sentence
                && token.text.starts_with(char::is_uppercase)
                && !matches!(token.text, "I" | "I'd" | "I'm" | "I'll")
        };
        let last = (0..self.tokens.len()).rfind(|&at| is_part(at))?;
        let first = (0..=last).rev().take_while(|&at| is_part(at)).last()?;
        Some(first..last + 1)
    }

    /// Up to four words from the last preposition to the end of its sentence.
    fn behind_preposition(&self) -> Option<Range<usize>> {
        const PREPOSITIONS: &[&str] = &[
            "about", "called", "for", "from", "in", "named", "of", "on", "to",
        ];
        const ARTICLES: &[&str] = &["a", "an", "the"];
        let preposition = self
            .tokens
            .iter()
            .rposition(|token| PREPOSITIONS.contains(&token.text.to_lowercase().as_str()))?;
        let mut first = preposition + 1;
        while self
            .tokens
            .get(first)
            .is_some_and(|it| ARTICLES.contains(&it.text))
        {
            first += 1;
        }
        let length = self.tokens[first..].iter().position(|it| it.ends_sentence);
        let end = length.map_or(self.tokens.len(), |length| first + length + 1);
        let is_usable =
            (1..=4).contains(&(end - first)) && (first..end).all(|at| self.is_free_word(at));
        is_usable.then_some(first..end)
    }

    /// The one, two or three words that are neither the tool's nor anybody's.
    fn rest(&self) -> Option<Range<usize>> {
        let mut rest = (0..self.tokens.len()).filter(|&at| {
            !self.used[at]
                && !is_stop_word(&self.tokens[at].text.to_lowercase())
                && !self.is_own(at)
        });
        let first = rest.next()?;
        let last = rest.next_back().unwrap_or(first);
        let is_usable = last - first < 3 && (first..=last).all(|at| self.is_free_word(at));
        is_usable.then_some(first..last + 1)
    }

    fn is_free_word(&self, at: usize) -> bool {
        self.is(at, TokenKind::Word) && !self.used[at] && !self.is_own(at)
    }

    fn is_own(&self, at: usize) -> bool {
        let words = split(self.tokens[at].text);
        words.iter().all(|word| self.own.contains(&stem(word)))
    }
}
