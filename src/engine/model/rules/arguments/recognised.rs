//! Values that show by their form what they are: options of an enum, flags, addresses.

use serde_json::Value;

use super::{Property, Reader};
use crate::engine::model::rules::words::{split, stem};
use crate::schema::{Kind, TooLarge};

impl<'a> Reader<'a, '_> {
    /// A value that shows by its form what it is: an option of an enum, a flag, an address.
    pub(super) fn recognised(
        &mut self,
        property: &Property<'a>,
    ) -> Result<Option<Value>, TooLarge> {
        if let Some(options) = property.options() {
            return self.option(options);
        }
        self.scan()?;
        Ok(match property.kind {
            Kind::Boolean => self.flag(property.name),
            Kind::String => property.form().and_then(|it| self.of_form(it)),
            _ => None,
        })
    }

    fn of_form(&mut self, looks_right: fn(&str) -> bool) -> Option<Value> {
        let at = (0..self.tokens.len())
            .find(|&at| !self.used[at] && looks_right(self.tokens[at].text))?;
        self.used[at] = true;
        Some(self.tokens[at].text.into())
    }

    /// The option of an enum whose words the question says first.
    pub(super) fn option(&mut self, options: &[Value]) -> Result<Option<Value>, TooLarge> {
        let mut first: Option<(usize, &Value)> = None;
        for option in options {
            self.scan()?;
            let said = match option {
                Value::String(text) => {
                    self.work.copy(text.len())?;
                    let words: Vec<String> = split(text).iter().map(|it| stem(it)).collect();
                    self.says(&words)
                }
                Value::Number(number) => self
                    .numbers
                    .iter()
                    .find(|it| it.value == *number)
                    .map(|it| it.at),
                _ => None,
            };
            if let Some(at) = said
                && first.is_none_or(|(before, _)| at < before)
            {
                first = Some((at, option));
            }
        }
        Ok(first.map(|(at, option)| {
            self.used[at] = true;
            option.clone()
        }))
    }

    /// True if the question says the name of a flag, false with a negation before it.
    fn flag(&mut self, name: &str) -> Option<Value> {
        let words: Vec<String> = split(name).iter().map(|it| stem(it)).collect();
        if words.iter().all(|word| self.own.contains(word)) {
            return None;
        }
        let at = self.says(&words)?;
        self.used[at] = true;
        let before = at
            .checked_sub(1)
            .map(|it| self.tokens[it].text.to_lowercase());
        let is_denied = matches!(
            before.as_deref(),
            Some("no" | "not" | "without" | "non" | "never")
        );
        Some((!is_denied).into())
    }

    /// The token at which the question says these words, one after the other.
    fn says(&self, words: &[String]) -> Option<usize> {
        if words.is_empty() {
            return None;
        }
        self.stems
            .windows(words.len())
            .find(|said| said.iter().map(|(stem, _)| stem).eq(words))
            .map(|said| said[0].1)
            .filter(|at| !self.used[*at])
    }
}
