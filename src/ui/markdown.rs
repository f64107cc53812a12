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
        self.skin.term_text(block).to_string()
    }
}

/// Where the last complete block ends: behind a blank line that is in no code fence.
fn end_of_blocks(text: &str) -> usize {
    let mut end = 0;
    let mut at = 0;
    let mut is_fenced = false;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.trim_start().starts_with("```") {
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
}
