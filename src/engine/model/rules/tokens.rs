//! A question as tokens: words as they were written, quoted text, and signs of assignment.

/// One token of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Token<'a> {
    pub kind: Kind,
    /// The text, without quotes and without punctuation around it.
    pub text: &'a str,
    /// Whether a sentence begins here, so that a capital letter says nothing.
    pub begins_sentence: bool,
    /// Whether a sentence ends behind it.
    pub ends_sentence: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Word,
    Quoted,
    /// The `=` or `:` of `name=value` and `name: value`.
    Assign,
}

/// What stands behind this many tokens is not read: no question is as long.
const MOST_TOKENS: usize = 20_000;

/// Splits a question into tokens, in one pass.
pub fn tokens(question: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = question;
    let mut begins_sentence = true;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next().filter(|_| tokens.len() < MOST_TOKENS) else {
            return tokens;
        };
        let (kind, text, length, ends_sentence) = if let Some((text, length)) = quoted(rest) {
            (Kind::Quoted, text, length, false)
        } else if first == '=' {
            (Kind::Assign, &rest[..1], 1, false)
        } else {
            word(rest)
        };
        rest = &rest[length..];
        if !text.is_empty() {
            tokens.push(Token {
                kind,
                text,
                begins_sentence,
                ends_sentence,
            });
            begins_sentence = false;
        } else if ends_sentence && let Some(last) = tokens.last_mut() {
            last.ends_sentence = true;
        }
        begins_sentence |= ends_sentence;
        if kind == Kind::Word && rest.starts_with(':') {
            let after = rest[1..].chars().next();
            if after.is_none_or(|it| it.is_whitespace() || is_quote(it)) {
                tokens.push(Token {
                    kind: Kind::Assign,
                    text: &rest[..1],
                    begins_sentence: false,
                    ends_sentence: false,
                });
            }
            rest = &rest[1..];
        }
    }
}

fn is_quote(character: char) -> bool {
    matches!(character, '"' | '\'' | '`' | '\u{201c}' | '\u{2018}')
}

/// The quoted text that `rest` begins with, and how many bytes it takes with its quotes.
fn quoted(rest: &str) -> Option<(&str, usize)> {
    /// A quote that is never closed must not be looked for again and again.
    const LONGEST: usize = 1024;
    let open = rest.chars().next()?;
    let close = match open {
        '"' | '`' | '\'' => open,
        '\u{201c}' => '\u{201d}',
        '\u{2018}' => '\u{2019}',
        _ => return None,
    };
    let inner = &rest[open.len_utf8()..];
    let end = inner
        .char_indices()
        .take(LONGEST)
        .find(|&(at, it)| it == close && is_closing(inner, at + it.len_utf8()))?
        .0;
    Some((&inner[..end], open.len_utf8() + end + close.len_utf8()))
}

/// Whether a quote that ends at `at` closes: no letter follows, as one does in `it's`.
fn is_closing(text: &str, at: usize) -> bool {
    !text[at..].starts_with(char::is_alphanumeric)
}

/// The word that `rest` begins with, what it takes, and whether it ends a sentence.
fn word(rest: &str) -> (Kind, &str, usize, bool) {
    let mut end = rest.len();
    let mut is_name = true;
    for (at, character) in rest.char_indices() {
        let assigns = is_name && at > 0 && matches!(character, '=');
        if character.is_whitespace() || assigns {
            end = at;
            break;
        }
        is_name &= character.is_alphanumeric() || matches!(character, '_' | '-' | '.');
    }
    let whole = &rest[..end];
    let punctuation = |it: char| {
        matches!(
            it,
            ',' | ';' | '.' | '!' | '?' | ')' | ']' | '}' | '"' | '\'' | '`'
        )
    };
    let mut text = whole.trim_start_matches(['(', '[', '{', '"', '\'', '`']);
    let start = whole.len() - text.len();
    text = text.trim_end_matches(punctuation);
    let colon = text.ends_with(':');
    text = text.trim_end_matches(':');
    let tail = &whole[start + text.len()..];
    let ends_sentence = tail.contains(['.', '!', '?', ';']) || rest[end..].starts_with('\n');
    // A colon is left for the caller, who tells an assignment from the end of a clause.
    let length = if colon && !text.is_empty() {
        start + text.len()
    } else {
        end.max(1)
    };
    (Kind::Word, text, length, ends_sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(question: &str) -> Vec<String> {
        tokens(question)
            .into_iter()
            .map(|token| match token.kind {
                Kind::Word => token.text.to_owned(),
                Kind::Quoted => format!("<{}>", token.text),
                Kind::Assign => "=".to_owned(),
            })
            .collect()
    }

    #[test]
    fn words_quotes_and_assignments_are_told_apart() {
        for (question, expected) in [
            ("Roll 5 dice!", &["Roll", "5", "dice"][..]),
            (
                "say \"hello, world\" twice",
                &["say", "<hello, world>", "twice"],
            ),
            ("it's Bob's 'own words'.", &["it's", "Bob's", "<own words>"]),
            (
                "n_dice=5, sides = 6",
                &["n_dice", "=", "5", "sides", "=", "6"],
            ),
            (
                "name: \"Ada\" or city:Paris",
                &["name", "=", "<Ada>", "or", "city:Paris"],
            ),
            (
                "see https://a.example/?q=1.",
                &["see", "https://a.example/?q=1"],
            ),
            (
                "open (src/main.rs), please",
                &["open", "src/main.rs", "please"],
            ),
            ("an \"open quote", &["an", "open", "quote"]),
            ("\u{201c}curly\u{201d} `code`", &["<curly>", "<code>"]),
            ("... ! ?", &[]),
            ("", &[]),
        ] {
            assert_eq!(told(question), expected, "{question}");
        }
    }

    #[test]
    fn the_start_of_a_sentence_is_known() {
        let begins: Vec<&str> = tokens("Hello there. Roll five! Thanks")
            .into_iter()
            .filter(|token| token.begins_sentence)
            .map(|token| token.text)
            .collect();
        assert_eq!(begins, ["Hello", "Roll", "Thanks"]);
    }
}
