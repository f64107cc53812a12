//! Markdown on a terminal, a block at a time: what is complete is rendered, the rest waits.

use termimad::MadSkin;

/// The most bytes that wait for the end of their block; a longer block is rendered in parts.
const LONGEST_BLOCK: usize = 64 * 1024;

/// Text that comes in pieces, rendered when a block of it is complete.
pub struct Markdown {
    skin: MadSkin,
    waiting: String,
    /// How many bytes of `waiting` are whole lines that were looked at.
    looked_at: usize,
    /// Whether these end within a code fence.
    is_fenced: bool,
}

impl Markdown {
    /// A renderer; without colour it only arranges.
    pub fn new(in_colour: bool) -> Self {
        Self {
            skin: match in_colour {
                true => MadSkin::default(),
                false => MadSkin::no_style(),
            },
            waiting: String::new(),
            looked_at: 0,
            is_fenced: false,
        }
    }

    /// Takes more text and returns what can be shown of it.
    pub fn push(&mut self, text: &str) -> String {
        self.waiting.push_str(text);
        let mut end = match text.contains('\n') {
            true => self.end_of_blocks(),
            false => 0,
        };
        if end == 0 && self.waiting.len() > LONGEST_BLOCK {
            end = self.waiting.len();
        }
        if end == 0 {
            return String::new();
        }
        self.looked_at = self.looked_at.saturating_sub(end);
        let complete: String = self.waiting.drain(..end).collect();
        self.render(&complete)
    }

    /// Where the last complete block ends: behind a blank line that is in no code fence. Each line is
    /// looked at once.
    fn end_of_blocks(&mut self) -> usize {
        let mut end = 0;
        for line in self.waiting[self.looked_at..].split_inclusive('\n') {
            if !line.ends_with('\n') {
                break;
            }
            self.looked_at += line.len();
            self.is_fenced ^= fence(line).is_some();
            if !self.is_fenced && line.trim().is_empty() {
                end = self.looked_at;
            }
        }
        end
    }

    /// What is left when no more text comes.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.waiting);
        (self.looked_at, self.is_fenced) = (0, false);
        match rest.trim() {
            "" => rest,
            _ => self.render(&rest),
        }
    }

    fn render(&self, block: &str) -> String {
        self.skin.term_text(&prepared(block)).to_string()
    }
}

/// The block in the dialect of the renderer, which knows fences of three backticks only, and takes
/// the stars of `2 * 3 * 4` for emphasis.
fn prepared(block: &str) -> String {
    let mut prepared = String::with_capacity(block.len());
    let mut is_fenced = false;
    for line in block.split_inclusive('\n') {
        if let Some(language) = fence(line) {
            is_fenced = !is_fenced;
            prepared.push_str("```");
            prepared.push_str(language);
        } else if is_fenced {
            prepared.push_str(line);
        } else {
            // A star that begins a line is a bullet.
            let text = line.trim_start();
            let (bullet, text) = match text.strip_prefix("* ") {
                Some(rest) => (&line[..line.len() - rest.len()], rest),
                None => ("", line),
            };
            prepared.push_str(bullet);
            prepared.push_str(&text.replace(" * ", " \\* "));
        }
    }
    prepared
}

/// What stands behind a fence, if the line is one: at least three backticks or tildes.
fn fence(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let sign = line.chars().next().filter(|it| matches!(it, '`' | '~'))?;
    let rest = line.trim_start_matches(sign);
    (line.len() - rest.len() >= 3).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_shown_when_it_is_complete_and_nothing_is_lost() {
        let mut markdown = Markdown::new(false);
        assert_eq!(markdown.push("One **two"), "");
        let first = markdown.push("** three\n\nFour");
        assert!(first.contains("One two three"), "{first:?}");
        assert_eq!(markdown.push("\n```\na\n\nb"), "");
        let rest = markdown.finish();
        for word in ["Four", "a", "b"] {
            assert!(rest.contains(word), "{rest:?}");
        }
        assert_eq!(markdown.finish(), "");
    }

    #[test]
    fn a_block_without_an_end_is_shown_in_parts_and_read_once() {
        for line in ["word word\n", "word "] {
            let mut markdown = Markdown::new(false);
            let mut words = 0;
            for _ in 0..20_000 {
                words += markdown.push(line).matches("word").count();
                assert!(markdown.waiting.len() <= LONGEST_BLOCK);
            }
            words += markdown.finish().matches("word").count();
            assert_eq!(words, 20_000 * line.matches("word").count());
        }
    }

    #[test]
    fn stars_between_numbers_and_what_is_fenced_stay_as_they_are() {
        let mut markdown = Markdown::new(false);
        markdown.push("2 * 3 * 4 = 24\n* 5 * 6\n~~~\n# comment\n  * indented\n~~~\n");
        let rendered = markdown.finish();
        for text in ["2 * 3 * 4 = 24", "5 * 6", "# comment", "  * indented"] {
            assert!(rendered.contains(text), "{text:?} is not in {rendered:?}");
        }
        assert!(!rendered.contains("~~~"), "{rendered:?}");
    }
}
