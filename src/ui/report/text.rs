//! A report for a person: a line a step, and what would have been answered.

use std::time::Duration;

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};

use super::{EMULATED, answer, word};
use crate::check::{Complaint, Outcome, Report, Step};
use crate::ui::sanitize::{brief_line, one_line};
use crate::ui::{DIM, ERROR, NOTE, WARNING};

const PASS: Style = AnsiColor::Green.on_default();

/// The report over several lines, without a line end after the last. A step is a word, its title,
/// what there is to say, and its time in milliseconds; cause and hint stand below it.
pub fn text(report: &Report, in_colour: bool) -> String {
    let label = one_line(&report.server_label);
    let mut lines = vec![match &report.server_url {
        Some(url) => format!("{label}  {DIM}{}{DIM:#}", one_line(url)),
        None => label,
    }];
    lines.extend(report.steps.iter().flat_map(step));
    lines.push(String::new());
    lines.push(format!("OpenAI would have answered ({EMULATED}):"));
    lines.push(answer(report));
    let text = lines.join("\n");
    match in_colour {
        true => text,
        false => strip_str(&text).to_string(),
    }
}

fn step(step: &Step) -> Vec<String> {
    let style = match step.outcome {
        Outcome::Pass(_) => PASS,
        Outcome::Warn(_) => WARNING,
        Outcome::Fail(_) => ERROR,
        Outcome::Skip(_) => DIM,
    };
    let mut line = format!(
        "{style}{}{style:#}  {}",
        word(&step.outcome),
        brief_line(&step.title)
    );
    if let Outcome::Pass(Some(note)) | Outcome::Skip(note) = &step.outcome {
        line += &format!(": {}", brief_line(note));
    }
    if step.duration > Duration::ZERO {
        let time = step.duration.as_secs_f64() * 1000.0;
        line += &format!("  {DIM}{time:.1} ms{DIM:#}");
    }
    let mut lines = vec![line];
    if let Outcome::Warn(complaint) | Outcome::Fail(complaint) = &step.outcome {
        let Complaint { cause, hint } = complaint;
        lines.push(format!(
            "      {style}cause:{style:#} {}",
            brief_line(cause)
        ));
        let hint = hint.iter().map(|hint| brief_line(hint));
        lines.extend(hint.map(|hint| format!("      {NOTE}hint:{NOTE:#} {hint}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::{hostile, unauthorized};
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn a_person_reads_a_line_a_step_and_the_424_word_for_word() {
        insta::assert_snapshot!(text(&hostile(unauthorized()), false), @r#"
        dice  https://example.com/mcp
        pass  the address is public  0.4 ms
        pass  tools/list: 1 tool  1500.0 ms
        warn  names, 100%: fit
              cause: `a\u{1b}[2J\u{202e}b`\r\n::error::x
        fail  no <credentials> & "none"  2.0 ms
              cause: HTTP 401 ]]></failure>\u{0}
              hint: pass `--authorization`
        skip  a call: no --call

        OpenAI would have answered (emulated from outside; OpenAI was not asked):
        HTTP 424
        {
          "error": {
            "message": "Error retrieving tool list from MCP server: 'dice'. Http status code: 401 (Unauthorized)",
            "type": "external_connector_error",
            "param": "tools",
            "code": "http_error"
          }
        }
        "#);
    }

    #[test]
    fn a_list_that_was_had_is_counted() {
        for (tools, expected) in [(1, "listed 1 tool"), (12, "listed 12 tools")] {
            let text = text(&hostile(Verdict::Listed { tools }), false);
            assert_eq!(text.lines().last(), Some(expected));
        }
    }

    #[test]
    fn colours_are_ours_and_stay_out_of_a_pipe() {
        let report = hostile(unauthorized());
        let plain = text(&report, false);
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        let coloured = text(&report, true);
        assert!(coloured.contains("\u{1b}[33mwarn"), "{coloured:?}");
        assert_eq!(strip_str(&coloured).to_string(), plain);
        // Both forms show what the server sent as text.
        assert!(!coloured.contains("\u{1b}[2J"), "{coloured:?}");
    }
}
