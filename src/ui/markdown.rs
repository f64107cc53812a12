//! Markdown on a terminal, a block at a time: what is complete is rendered, the rest waits.

use termimad::MadSkin;

/// Text that comes in pieces, rendered when a block of it is complete.
pub struct Markdown {
    skin: MadSkin,
    waiting: String,
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
        }
    }

    /// Takes more text and returns what can be shown of it.
    pub fn push(&mut self, text: &str) -> String {
        self.waiting.push_str(text);
        match end_of_blocks(&self.waiting) {
            0 => String::new(),
            end => {
                let complete: String = self.waiting.drain(..end).collect();
                self.render(&complete)
            }
        }
    }

    /// What is left when no more text comes.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.waiting);
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

/// Where the last complete block ends: behind a blank line that is in no code fence.
fn end_of_blocks(text: &str) -> usize {
    let mut end = 0;
    let mut at = 0;
    let mut is_fenced = false;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if fence(line).is_some() {
            is_fenced = !is_fenced;
        }
        if !is_fenced && line.trim().is_empty() && line.ends_with('\n') {
            end = at;
        }
    }
    end
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
