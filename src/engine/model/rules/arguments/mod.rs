//! Arguments for a tool, from the words of a question and the tool's schema.

mod property;
mod recognised;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Number, Value};

use super::Tool;
use super::numbers::{self, Found};
use super::pick;
use super::tokens::{self, Kind as TokenKind, Token};
use super::words::{split, stem};
use crate::schema::{self, Kind, Resolved, TooLarge, Work};

pub(super) use property::Property;

/// How deep objects in objects are filled.
const DEEPEST: usize = 4;
/// Properties beyond this many are left out, those of objects in objects included: a schema may
/// refer to itself in each of its properties.
const MOST_PROPERTIES: usize = 200;
/// How many tokens are looked at in one step of [`Work`].
const TOKENS_PER_STEP: usize = 64;

/// Why a tool's arguments cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfilled {
    /// The question does not say a required property, of a kind such as `integer`.
    Missing { name: String, kind: &'static str },
    /// The schema takes too much work.
    TooLarge,
}

impl From<TooLarge> for Unfilled {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

/// Fills the arguments of `tool` from `question`: first what is named (`n_dice=5`), then what is
/// required, then what is left over.
pub fn fill(
    question: &str,
    tool: &Tool<'_>,
    work: &mut Work,
) -> Result<Map<String, Value>, Unfilled> {
    let schema = schema::resolve(tool.input_schema, tool.input_schema, work)?;
    Reader::new(question, tool, work).object(&schema, 0)
}

/// The question, and which parts of it have been used.
pub(super) struct Reader<'a, 'w> {
    pub(super) text: &'a str,
    root: &'a Value,
    work: &'w mut Work,
    pub(super) tokens: Vec<Token<'a>>,
    /// The stem of each word of each token, and the token's index.
    stems: Vec<(String, usize)>,
    numbers: Vec<Found>,
    /// The number that begins at a token.
    number_at: HashMap<usize, usize>,
    pub(super) used: Vec<bool>,
    /// How many properties may still be looked at.
    properties_left: usize,
    /// The stems of the tool's own words: they say which tool, not which argument.
    pub(super) own: HashSet<String>,
}

impl<'a, 'w> Reader<'a, 'w> {
    fn new(question: &'a str, tool: &Tool<'a>, work: &'w mut Work) -> Self {
        let tokens = tokens::tokens(question);
        let stems = tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| token.kind == TokenKind::Word)
            .flat_map(|(at, token)| split(token.text).into_iter().map(move |it| (stem(&it), at)))
            .collect();
        let own = [tool.name, tool.description.unwrap_or_default()];
        let own = own
            .into_iter()
            .flat_map(|text| split(pick::start(text, pick::DESCRIPTION_BYTES)));
        let own = own.map(|word| stem(&word)).collect();
        let numbers = numbers::find(&tokens);
        Self {
            text: question,
            root: tool.input_schema,
            work,
            number_at: numbers
                .iter()
                .enumerate()
                .map(|(index, it)| (it.at, index))
                .collect(),
            numbers,
            properties_left: MOST_PROPERTIES,
            used: vec![false; tokens.len()],
            tokens,
            stems,
            own,
        }
    }

    /// The question is about to be looked through once.
    fn scan(&mut self) -> Result<(), TooLarge> {
        self.work
            .spend(1 + (self.stems.len() / TOKENS_PER_STEP) as u64)
    }

    fn object(
        &mut self,
        schema: &Resolved<'a>,
        depth: usize,
    ) -> Result<Map<String, Value>, Unfilled> {
        let properties = self.properties(schema)?;
        let strings_wanted = properties
            .iter()
            .filter(|it| it.is_required && it.kind == Kind::String)
            .filter(|it| it.schema.get("enum").is_none())
            .count();
        let is_only_string = strings_wanted == 1;

        let mut values: HashMap<&str, Value> = HashMap::new();
        for property in &properties {
            self.scan()?;
            if let Some(value) = self.named(property) {
                values.insert(property.name, value);
            }
        }
        // What can be recognised by its form is not for a property that takes anything.
        for property in &properties {
            if !values.contains_key(property.name)
                && let Some(value) = self.recognised(property)?
            {
                values.insert(property.name, value);
            }
        }
        let mut arguments = Map::new();
        for wants_required in [true, false] {
            let wanted = properties
                .iter()
                .filter(|it| it.is_required == wants_required);
            for property in wanted {
                let value = match values.remove(property.name) {
                    Some(value) => Some(value),
                    None if property.kind == Kind::Object => self.nested(property, depth)?,
                    None => self.left_over(property, is_only_string)?,
                };
                let value = match value {
                    None if property.is_required => Some(self.default(property)?),
                    value => value,
                };
                if let Some(value) = value {
                    arguments.insert(property.name.to_owned(), value);
                }
            }
        }
        Ok(arguments)
    }

    /// The properties of an object, as many as may still be looked at.
    fn properties(&mut self, object: &Resolved<'a>) -> Result<Vec<Property<'a>>, TooLarge> {
        let required = object.required();
        let mut properties = Vec::new();
        for (name, schema) in object.properties() {
            if properties.len() == self.properties_left {
                break;
            }
            self.work.copy(name.len())?;
            let schema = schema::resolve(schema, self.root, self.work)?;
            properties.push(Property::new(name, schema, required.contains(name)));
        }
        self.properties_left -= properties.len();
        Ok(properties)
    }

    /// An object in an object: there if anything of it is said, or if it is required.
    fn nested(&mut self, property: &Property<'a>, depth: usize) -> Result<Option<Value>, Unfilled> {
        if depth == DEEPEST {
            return Ok(None);
        }
        let used = self.used.clone();
        match self.object(&property.schema, depth + 1) {
            Ok(object) if property.is_required || !object.is_empty() => {
                Ok(Some(Value::Object(object)))
            }
            Ok(_) => Ok(None),
            Err(Unfilled::TooLarge) => Err(Unfilled::TooLarge),
            Err(Unfilled::Missing { name, kind }) => {
                self.used = used;
                match property.is_required && property.schema.get("default").is_none() {
                    true => Err(Unfilled::Missing {
                        name: format!("{}.{name}", property.name),
                        kind,
                    }),
                    false => Ok(None),
                }
            }
        }
    }

    /// The value of `name=value`, `name: value`, or of a name right before a number or a quote.
    fn named(&mut self, property: &Property<'a>) -> Option<Value> {
        let words = split(property.name);
        for at in 0..self.tokens.len() {
            let Some(length) = self.says_name(at, property.name, &words) else {
                continue;
            };
            let next = at + length;
            let is_assigned = self.is(next, TokenKind::Assign);
            let value_at = next + usize::from(is_assigned);
            let Some(token) = self.tokens.get(value_at).filter(|_| !self.used[value_at]) else {
                continue;
            };
            let text = token.text;
            if property.kind == Kind::Array && is_assigned {
                self.used[at..value_at].fill(true);
                return self.run(value_at);
            }
            let number = self.number_at.get(&value_at).copied();
            let number = number.filter(|it| !self.numbers[*it].is_weak);
            let is_quoted = token.kind == TokenKind::Quoted;
            if !is_assigned && !is_quoted && number.is_none() {
                continue;
            }
            let Some(value) = self.read(text, number, property) else {
                continue;
            };
            let last = number.map_or(value_at, |it| value_at + self.numbers[it].length - 1);
            self.used[at..=last].fill(true);
            return Some(value);
        }
        None
    }

    /// The numbers, quotes or words of `names: 1, 2 and 3`, one after the other from `at` on.
    fn run(&mut self, at: usize) -> Option<Value> {
        let mut run = Vec::new();
        let mut next = at;
        while let Some(token) = self.tokens.get(next) {
            let joins = matches!(token.text.to_lowercase().as_str(), "and" | "or" | "&");
            match self.number_at.get(&next).map(|it| &self.numbers[*it]) {
                Some(number) if !number.is_weak => {
                    run.push(Value::Number(
                        integer(&number.value).unwrap_or(number.value.clone()),
                    ));
                    next += number.length;
                }
                _ if token.kind == TokenKind::Quoted => {
                    run.push(token.text.into());
                    next += 1;
                }
                _ if joins && !run.is_empty() => next += 1,
                _ if run.is_empty() && token.kind == TokenKind::Word => {
                    run.extend(token.text.split(',').map(Value::from));
                    next += 1;
                    break;
                }
                _ => break,
            }
        }
        self.used[at..next].fill(true);
        (!run.is_empty()).then_some(Value::Array(run))
    }

    /// How many tokens from `at` on are the name of a property, written in any way.
    fn says_name(&self, at: usize, name: &str, words: &[String]) -> Option<usize> {
        if !self.is(at, TokenKind::Word) || words.is_empty() {
            return None;
        }
        if self.tokens[at].text.eq_ignore_ascii_case(name) {
            return Some(1);
        }
        let tokens = self.tokens.get(at..at + words.len())?;
        let says = tokens
            .iter()
            .zip(words)
            .all(|(token, word)| token.text.eq_ignore_ascii_case(word));
        says.then_some(words.len())
    }

    /// A text that stands for the value of a property, as that value.
    fn read(&self, text: &str, number: Option<usize>, property: &Property<'a>) -> Option<Value> {
        if let Some(options) = property.options() {
            let is_meant = |option: &&Value| match option {
                Value::String(option) => option.eq_ignore_ascii_case(text),
                other => serde_json::from_str::<Value>(text).is_ok_and(|it| it == **other),
            };
            return options.iter().find(is_meant).cloned();
        }
        let number = number.map(|it| self.numbers[it].value.clone());
        match property.kind {
            Kind::Integer => integer(&number?).map(Value::Number),
            Kind::Number => number.map(Value::Number),
            Kind::String => Some(text.into()),
            Kind::Boolean => match text.to_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true.into()),
                "false" | "no" | "off" => Some(false.into()),
                _ => None,
            },
            Kind::Array => None,
            Kind::Object => serde_json::from_str(text).ok().filter(Value::is_object),
            Kind::Any => Some(number.map_or_else(|| text.into(), Value::Number)),
        }
    }

    /// The next value of the right kind that nothing else has taken.
    fn left_over(
        &mut self,
        property: &Property<'a>,
        is_only_string: bool,
    ) -> Result<Option<Value>, TooLarge> {
        self.scan()?;
        if let Some(constant) = property.schema.get("const") {
            return match property.is_required {
                true => self.copied(constant).map(Some),
                false => Ok(None),
            };
        }
        if property.schema.get("enum").is_some() {
            return Ok(None);
        }
        Ok(match property.kind {
            Kind::Integer | Kind::Number => self.number(property).map(Value::Number),
            Kind::String => {
                let quoted = self.quoted().map(Value::from);
                let may_guess = property.is_required && property.form().is_none();
                quoted.or_else(|| {
                    may_guess
                        .then(|| self.guess(property, is_only_string))
                        .flatten()
                })
            }
            Kind::Boolean => (property.is_required && property.schema.get("default").is_none())
                .then_some(false.into()),
            Kind::Array => self.list(property)?,
            Kind::Any => self
                .quoted()
                .map(Value::from)
                .or_else(|| self.number(property).map(Value::Number)),
            Kind::Object => None,
        })
    }

    fn number(&mut self, property: &Property<'a>) -> Option<Number> {
        let wants_integer = property.kind == Kind::Integer;
        let usable = |found: &&Found| {
            !self.used[found.at] && (!wants_integer || integer(&found.value).is_some())
        };
        let strong = self.numbers.iter().filter(|it| !it.is_weak).find(usable);
        // "a die" is one die, if nothing else says how many.
        let found = strong.or_else(|| {
            let may_be_weak = wants_integer && property.is_required;
            self.numbers.iter().filter(|_| may_be_weak).find(usable)
        })?;
        let range = found.at..found.at + found.length;
        let value = match wants_integer {
            true => integer(&found.value)?,
            false => found.value.clone(),
        };
        self.used[range].fill(true);
        Some(value)
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let at =
            (0..self.tokens.len()).find(|&at| !self.used[at] && self.is(at, TokenKind::Quoted))?;
        self.used[at] = true;
        Some(self.tokens[at].text)
    }

    /// All that is left of the kind of a list's items.
    fn list(&mut self, property: &Property<'a>) -> Result<Option<Value>, TooLarge> {
        let items = property.schema.get("items").unwrap_or(&Value::Null);
        let items = schema::resolve(items, self.root, self.work)?;
        let most = property.schema.get("maxItems").and_then(Value::as_u64);
        let item = Property::new(property.name, items, false);
        let mut list = Vec::new();
        while (list.len() as u64) < most.unwrap_or(u64::MAX) {
            let value = match item.options() {
                Some(options) => self.option(options)?,
                None if matches!(item.kind, Kind::Array | Kind::Object | Kind::Boolean) => None,
                None => self.left_over(&item, false)?,
            };
            match value {
                Some(value) => list.push(value),
                None => break,
            }
        }
        Ok((!list.is_empty()).then_some(Value::Array(list)))
    }

    fn default(&mut self, property: &Property<'a>) -> Result<Value, Unfilled> {
        match property.schema.get("default") {
            Some(default) => Ok(self.copied(default)?),
            None => Err(Unfilled::Missing {
                name: property.name.to_owned(),
                kind: property.kind.name(),
            }),
        }
    }

    /// A copy of a value of the schema, which several properties may share.
    fn copied(&mut self, value: &Value) -> Result<Value, TooLarge> {
        self.work.copy(value.to_string().len())?;
        Ok(value.clone())
    }

    pub(super) fn is(&self, at: usize, kind: TokenKind) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == kind)
    }
}

/// The number if it is whole: `2.0` is 2.
fn integer(number: &Number) -> Option<Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone());
    }
    let value = number.as_f64()?;
    // Beyond 2^53 a double does not say which integer was meant.
    let is_exact = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
    is_exact.then(|| Number::from(value as i64))
}
