//! Untrusted text to text that cannot drive a terminal, and in which nothing is hidden.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

/// The most blanks in a row that are shown as they are. More could push text off the screen.
const MOST_BLANKS: usize = 4;
/// The most marks on one letter that are shown as they are. More could cover other lines.
const MOST_MARKS: usize = 6;

/// The text without what a terminal would obey or not show: every control character but newline
/// and tab, and all that [`is_invisible`] knows, such as variation selectors and joiners. A blank
/// cell of Braille becomes a space, which looks the same.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let text = text
        .chars()
        .map(|it| if it == '\u{2800}' { ' ' } else { it });
    Cow::Owned(text.filter(|it| is_harmless(*it)).collect())
}

/// The text on one line, with all that cannot be seen written as an escape: `\n`, `\u{200b}`, and
/// `\u{20 x1900}` for 1,900 blanks in a row.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut follows_blank = false;
    let mut marks = 0;
    while let Some(character) = characters.next() {
        let is_blank = character.is_whitespace();
        let is_mark = character.width() == Some(0);
        marks = if is_mark { marks + 1 } else { 0 };
        if is_harmless(character) && !is_blank && marks <= MOST_MARKS {
            line.push(character);
            follows_blank = false;
            continue;
        }
        let mut count = 1;
        while characters.next_if_eq(&character).is_some() {
            count += 1;
        }
        let is_alone = count == 1
            && !follows_blank
            && !characters.peek().copied().is_some_and(char::is_whitespace);
        match character {
            _ if count > MOST_BLANKS => escape(&mut line, character, count),
            '\n' => line.push_str(&"\\n".repeat(count)),
            '\t' => line.push_str(&"\\t".repeat(count)),
            '\r' => line.push_str(&"\\r".repeat(count)),
            ' ' => line.push_str(&" ".repeat(count)),
            // Writing has other blanks than the space, between words.
            it if is_harmless(it) && is_blank && is_alone => line.push(it),
            it => escape(&mut line, it, count),
        }
        follows_blank = is_blank;
    }
    line
}

/// The most columns of one line about something that went wrong.
const LONGEST_LINE: usize = 2_000;

/// The text on one line of at most 2,000 columns: [`one_line`], and the middle of a longer one is
/// left out.
pub fn brief_line(text: &str) -> String {
    match shortened(&one_line(text), LONGEST_LINE) {
        Cow::Borrowed(line) => line.to_owned(),
        Cow::Owned(line) => line,
    }
}

/// JSON in which all that a terminal would obey or not show is written as `\uXXXX`. It is the same
/// JSON: nothing is lost.
pub fn json(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut json = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmless(character) {
            json.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` does not fail.
            let _ = write!(json, "\\u{unit:04x}");
        }
    }
    Cow::Owned(json)
}

/// A name as it is, if it is a plain one. Any other in quotes, with all that is not printable ASCII
/// written as an escape: a letter that only looks like another is seen to be another.
pub fn name(name: &str) -> Cow<'_, str> {
    if is_plain_name(name) {
        return Cow::Borrowed(name);
    }
    let mut quoted = String::from("\"");
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            it if it.is_ascii_graphic() => quoted.push(it),
            it => {
                let mut count = 1;
                while characters.next_if_eq(&it).is_some() {
                    count += 1;
                }
                match it {
                    ' ' if count == 1 => quoted.push(' '),
                    it => escape(&mut quoted, it, count),
                }
            }
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

/// The name of a tool with that of its server in front.
pub fn tool_name(server_label: &str, tool: &str) -> String {
    format!("{}.{}", name(server_label), name(tool))
}

/// Whether the name is made of the characters that names of tools are made of, and of no others
/// that only look like them: `[A-Za-z0-9_.-]`.
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-');
    !name.is_empty() && name.chars().all(is_plain)
}

/// The text in at most so many columns: of a longer one, the beginning and the end, and how much is
/// left out between them.
pub fn shortened(text: &str, columns: usize) -> Cow<'_, str> {
    let width = |it: char| it.width().unwrap_or(0);
    if text.chars().map(width).sum::<usize>() <= columns {
        return Cow::Borrowed(text);
    }
    let characters = text.chars().count();
    let note = |left_out: usize| format!(" [{left_out} characters left out] ");
    let half = columns.saturating_sub(note(characters).len()) / 2;
    let fits = |left: &mut usize, it: char| {
        *left = left.checked_sub(width(it))?;
        Some(it)
    };
    let head: String = text.chars().scan(half, fits).collect();
    let tail: Vec<char> = text.chars().rev().scan(half, fits).collect();
    let left_out = note(characters - head.chars().count() - tail.len());
    Cow::Owned(format!(
        "{head}{left_out}{}",
        tail.iter().rev().collect::<String>()
    ))
}

fn escape(line: &mut String, character: char, count: usize) {
    let code = u32::from(character);
    // Writing to a `String` does not fail.
    let _ = match count {
        1 => write!(line, "\\u{{{code:x}}}"),
        count => write!(line, "\\u{{{code:x} x{count}}}"),
    };
}

/// Whether a terminal shows the character, and does nothing else.
pub fn is_harmless(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        it => !it.is_control() && !is_invisible(it),
    }
}

/// Whether the character is not seen, or changes how others are seen: those with the properties
/// `Default_Ignorable_Code_Point` or `General_Category=Cf` (Unicode 16, DerivedCoreProperties.txt and
/// DerivedGeneralCategory.txt), line and paragraph separators, and letters that are blank.
fn is_invisible(character: char) -> bool {
    matches!(u32::from(character),
        0xad | 0x34f | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2
        | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
        | 0x2028..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0
        | 0xfff0..=0xfffb | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x16fe4 | 0x1bca0..=0x1bca3
        | 0x1d159 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff
    ) || u32::from(character) & 0xfffe == 0xfffe
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
            ("\u{2764}\u{fe0f} a\u{2800}b\u{3164}", "\u{2764} a b"),
        ] {
            assert_eq!(for_terminal(text), expected);
        }
    }

    #[test]
    fn a_line_stays_a_line_and_hides_nothing() {
        for (text, expected) in [
            ("a\r\nb\u{1b}[2J\tc", "a\\r\\nb\\u{1b}[2J\\tc"),
            ("a    b", "a    b"),
            ("a     b", "a\\u{20 x5}b"),
            ("a\n\n\n\n\nb", "a\\u{a x5}b"),
            ("\u{2800}\u{2800}x\u{2800}", "\\u{2800 x2}x\\u{2800}"),
            ("10\u{a0}000\u{3000}", "10\u{a0}000\u{3000}"),
            (" \u{a0} \u{a0}", " \\u{a0} \\u{a0}"),
            ("o\u{301}", "o\u{301}"),
            (
                "z\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}",
                "z\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\\u{307}",
            ),
        ] {
            assert_eq!(one_line(text), expected);
        }
    }

    #[test]
    fn a_name_that_is_not_plain_is_quoted_and_escaped() {
        for (text, expected) in [
            ("read_file.v2-b", "read_file.v2-b"),
            ("read file", "\"read file\""),
            ("a/b", "\"a/b\""),
            ("", "\"\""),
            ("a\"\\", "\"a\\\"\\\\\""),
            ("r\u{435}ad", "\"r\\u{435}ad\""),
            ("read\u{200b}_file", "\"read\\u{200b}_file\""),
            ("a\nLet it? (y/N)   ", "\"a\\u{a}Let it? (y/N)\\u{20 x3}\""),
        ] {
            assert_eq!(name(text), expected);
        }
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("short", 5), "short");
        let long = format!("begin{}end", "x".repeat(1000));
        let short = shortened(&long, 50);
        assert_eq!(short, "beginxxxxxx [986 characters left out] xxxxxxxxend");
        let wide = shortened(&"\u{5b57}".repeat(100), 50).into_owned();
        assert!(console::measure_text_width(&wide) <= 50, "{wide}");
        assert_eq!(shortened(&long, 3), " [1008 characters left out] ");
    }

    #[test]
    fn every_character_that_unicode_calls_ignorable_is_known() {
        let ignorable = regex::Regex::new(r"^[\p{DI}\p{Cf}\p{Cc}\p{Zl}\p{Zp}]$").unwrap();
        let missed = ('\0'..=char::MAX).filter(|it| !matches!(it, '\n' | '\t'));
        let missed = missed.filter(|it| is_harmless(*it));
        let missed: Vec<char> = missed
            .filter(|it| ignorable.is_match(it.encode_utf8(&mut [0; 4])))
            .collect();
        assert_eq!(missed, Vec::<char>::new());
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_drives_a_terminal_is_left_of_any_text(text in "(\\PC|\\p{Cc}|\\p{Cf}|[a-z \u{2800}]){0,60}") {
            for (sanitized, newlines) in [
                (for_terminal(&text).into_owned(), true),
                (one_line(&text), false),
                (name(&text).into_owned(), false),
            ] {
                for left in sanitized.chars().filter(|it| it.is_control()) {
                    proptest::prop_assert!(newlines && matches!(left, '\n' | '\t'), "{left:?}");
                }
                proptest::prop_assert!(sanitized.chars().all(is_harmless));
            }
            // What is harmless is left as it is, in its order.
            let shown = |it: &char| is_harmless(*it) && *it != ' ';
            let harmless: String = text.chars().filter(shown).collect();
            let left: String = for_terminal(&text).chars().filter(shown).collect();
            proptest::prop_assert_eq!(left, harmless);
        }

        #[test]
        fn what_is_shortened_fits(text in "\\PC{0,200}", columns in 40_usize..120) {
            let text = one_line(&text);
            let short = shortened(&text, columns);
            let width: usize = short.chars().filter_map(char::width).sum();
            proptest::prop_assert!(width <= columns, "{width}: {short}");
        }
    }
}
