//! What a check found: for a person, for programs, for CI.
//!
//! Titles, causes and hints quote what a server said, so each form escapes all of it.

mod github;
mod json;
mod junit;
mod text;

use serde_json::{Value, json};

use super::sanitize;
use crate::check::{Complaint, Outcome, Report, Step, Verdict};

pub use github::github;
pub use json::json;
pub use junit::junit;
pub use text::text;

/// Says that the verdict is not an answer of OpenAI's.
const EMULATED: &str = "emulated from outside; OpenAI was not asked";

/// `pass`, `warn`, `fail` or `skip`.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass(_) => "pass",
        Outcome::Warn(_) => "warn",
        Outcome::Fail(_) => "fail",
        Outcome::Skip(_) => "skip",
    }
}

/// What would have been answered: `listed 1 tool`, or the status and the body of the error.
fn answer(report: &Report) -> String {
    let is_far = |step: &Step| step.id == "address" && !matches!(step.outcome, Outcome::Pass(_));
    let condition = match report.steps.iter().any(is_far) {
        true => ", once it can reach the server",
        false => "",
    };
    match &report.verdict {
        Verdict::Listed { .. } => format!("{}{condition}", words(&report.verdict)),
        Verdict::FailedDependency(_) => words(&report.verdict),
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Listed { tools: 1 } => "listed 1 tool".to_owned(),
        Verdict::Listed { tools } => format!("listed {tools} tools"),
        Verdict::FailedDependency(error) => {
            format!("HTTP 424\n{}", document(&json!({"error": error})))
        }
    }
}

/// The cause, and the hint on a line of its own.
fn whole(complaint: &Complaint) -> String {
    match &complaint.hint {
        Some(hint) => format!("{}\nhint: {hint}", complaint.cause),
        None => complaint.cause.clone(),
    }
}

/// JSON over several lines, which cannot drive a terminal.
fn document(value: &Value) -> String {
    sanitize::json(&format!("{value:#}")).into_owned()
}

/// A report with each outcome, and text in it that no form may pass on as it is.
#[cfg(test)]
fn hostile(verdict: Verdict) -> Report {
    use std::time::Duration;

    let step = |id, title: &str, outcome, micros| Step {
        id,
        title: title.to_owned(),
        outcome,
        duration: Duration::from_micros(micros),
    };
    let complaint = |cause: &str, hint: Option<&str>| Complaint {
        cause: cause.to_owned(),
        hint: hint.map(str::to_owned),
    };
    Report {
        server_label: "dice".to_owned(),
        server_url: Some("https://example.com/mcp".to_owned()),
        tools: Vec::new(),
        steps: vec![
            step("address", "the address is public", Outcome::Pass(None), 420),
            step(
                "tools_list",
                "tools/list",
                Outcome::Pass(Some("1 tool".to_owned())),
                1_500_000,
            ),
            step(
                "lint_names",
                "names, 100%: fit",
                Outcome::Warn(complaint("`a\u{1b}[2J\u{202e}b`\r\n::error::x", None)),
                0,
            ),
            step(
                "credentials",
                "no <credentials> & \"none\"",
                Outcome::Fail(complaint(
                    "HTTP 401 ]]></failure>\u{0}",
                    Some("pass `--authorization`"),
                )),
                2_000,
            ),
            step("call", "a call", Outcome::Skip("no --call".to_owned()), 0),
        ],
        verdict,
    }
}

/// The verdict on a server that wants a token.
#[cfg(test)]
fn unauthorized() -> Verdict {
    use crate::responses::FailedDependency;

    let status = http::StatusCode::UNAUTHORIZED;
    Verdict::FailedDependency(FailedDependency::listing("dice", status, String::new()).error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_could_drive_a_terminal_is_the_same_json_and_cannot() {
        let value = json!({"a\u{9b}": ["\u{1b}[2J\u{202e}\u{e0041}\n\u{7f}", "\u{1f3b2}"]});
        let document = document(&value);
        let is_text = document.chars().all(sanitize::is_harmless);
        assert!(is_text, "{document:?}");
        assert_eq!(serde_json::from_str::<Value>(&document).unwrap(), value);
        assert!(document.contains('\u{1f3b2}'), "{document}");
    }
}
