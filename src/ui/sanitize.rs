//! Untrusted text to text that cannot drive a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// The text without what a terminal would obey: every control character but newline and tab, the
/// characters that turn the direction of text around, and invisible tag characters are dropped.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|it| is_harmless(*it)).collect())
}

/// The text on one line: what [`for_terminal`] drops, newline and tab are written as escapes.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '\r' => line.push_str("\\r"),
            it if is_harmless(it) => line.push(it),
            it => {
                // Writing to a `String` does not fail.
                let _ = write!(line, "\\u{{{:x}}}", u32::from(it));
            }
        }
    }
    line
}

/// Whether the name is made of the characters that names of tools are made of, and of no others
/// that only look like them: `[A-Za-z0-9_.-]`.
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-');
    !name.is_empty() && name.chars().all(is_plain)
}

/// Whether a terminal shows the character, and does nothing else.
pub fn is_harmless(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        // Bidirectional overrides and isolates.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            false
        }
        // Line and paragraph separators, interlinear annotations, tags.
        '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => false,
        it => !it.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_gone() {
        for (text, expected) in [
            (
                "plain \u{e9}\u{1f3b2}\n\ttext",
                "plain \u{e9}\u{1f3b2}\n\ttext",
            ),
            ("\u{1b}[31mred\u{1b}[0m", "[31mred[0m"),
            ("\u{1b}]52;c;cGFzdGU=\u{7}", "]52;c;cGFzdGU="),
            ("a\u{9b}2Jb\rc\u{0}\u{8}", "a2Jbc"),
            ("abc\u{202e}fed\u{2066}", "abcfed"),
            ("tag\u{e0041}\u{e007f}", "tag"),
        ] {
            assert_eq!(for_terminal(text), expected);
        }
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[2J\tc"), "a\\r\\nb\\u{1b}[2J\\tc");
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_drives_a_terminal_is_left_of_any_text(text in "(\\PC|\\p{Cc}|\\p{Cf}|[a-z]){0,60}") {
            for (sanitized, newlines) in [(for_terminal(&text).into_owned(), true), (one_line(&text), false)] {
                for left in sanitized.chars().filter(|it| it.is_control()) {
                    proptest::prop_assert!(newlines && matches!(left, '\n' | '\t'), "{left:?}");
                }
                let turns = sanitized.contains(['\u{202e}', '\u{2066}', '\u{e0041}']);
                proptest::prop_assert!(!turns);
            }
            // What is harmless is left as it is, in its order.
            let harmless: String = text.chars().filter(|it| is_harmless(*it)).collect();
            proptest::prop_assert_eq!(for_terminal(&text), harmless);
        }
    }
}
