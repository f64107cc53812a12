//! A report for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::{document, word};
use crate::check::{Complaint, Outcome, Report, Step, Verdict};

/// The report as one JSON object. Its keys stay, and others may come:
///
/// - `server_label`, and `server_url`: null for a server that is started.
/// - `steps`: each with `id`, a word that stays the same; `title`; `outcome`: `pass`, `warn`, `fail`
///   or `skip`; `duration_ms`; `note`: what there is to say of a pass, or why it was skipped; `cause`
///   and `hint` of a warning or a failure. What there is not is null.
/// - `verdict`: what `responses.create` would have answered: `status`, 200 or 424; `tools`: how many
///   were listed; `error`: the error object in the body of the 424; `emulated`: always true, for
///   OpenAI was not asked.
pub fn json(report: &Report) -> String {
    document(&json!({
        "server_label": report.server_label,
        "server_url": report.server_url,
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
        "verdict": verdict(&report.verdict),
    }))
}

fn step(step: &Step) -> Value {
    let (note, complaint) = match &step.outcome {
        Outcome::Pass(note) => (note.as_ref(), None),
        Outcome::Skip(why) => (Some(why), None),
        Outcome::Warn(complaint) | Outcome::Fail(complaint) => (None, Some(complaint)),
    };
    json!({
        "id": step.id,
        "title": step.title,
        "outcome": word(&step.outcome),
        "duration_ms": milliseconds(step.duration),
        "note": note,
        "cause": complaint.map(|it| &it.cause),
        "hint": complaint.and_then(|Complaint { hint, .. }| hint.as_ref()),
    })
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn verdict(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Listed { tools } => {
            json!({"status": 200, "tools": tools, "error": null, "emulated": true})
        }
        Verdict::FailedDependency(error) => {
            json!({"status": 424, "tools": null, "error": error, "emulated": true})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{hostile, unauthorized};
    use super::*;

    fn read(report: &Report) -> Value {
        serde_json::from_str(&json(report)).unwrap()
    }

    #[test]
    fn a_program_reads_each_step_and_the_verdict() {
        let report = read(&hostile(unauthorized()));
        assert_eq!(report["server_url"], "https://example.com/mcp");
        assert_eq!(
            report["steps"][1],
            json!({"id": "tools_list", "title": "tools/list", "outcome": "pass",
                   "duration_ms": 1500.0, "note": "1 tool", "cause": null, "hint": null})
        );
        assert_eq!(
            report["steps"][2]["cause"],
            "`a\u{1b}[2J\u{202e}b`\r\n::error::x"
        );
        assert_eq!(report["steps"][3]["hint"], "pass `--authorization`");
        assert_eq!(
            report["steps"][4],
            json!({"id": "call", "title": "a call", "outcome": "skip",
                   "duration_ms": 0.0, "note": "no --call", "cause": null, "hint": null})
        );
        assert_eq!(report["steps"][0]["duration_ms"], 0.42);
        assert_eq!(
            report["verdict"],
            json!({"status": 424, "tools": null, "emulated": true, "error": {
                "message": "Error retrieving tool list from MCP server: 'dice'. Http status code: 401 (Unauthorized)",
                "type": "external_connector_error", "param": "tools", "code": "http_error"}})
        );
    }

    #[test]
    fn the_verdict_on_a_list_has_the_same_keys() {
        let listed = read(&hostile(Verdict::Listed { tools: 3 }));
        assert_eq!(
            listed["verdict"],
            json!({"status": 200, "tools": 3, "error": null, "emulated": true})
        );
    }
}
