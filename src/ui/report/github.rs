//! A report as annotations of GitHub Actions.

use super::{EMULATED, answer, whole};
use crate::check::{Outcome, Report, Verdict};
use crate::ui::sanitize::{for_terminal, one_line};

/// The report as workflow commands, one a line: an `error` for a failure, a `warning` for a warning,
/// and the verdict, which is a `notice` if the tools would have been listed (GitHub Actions, workflow
/// commands).
pub fn github(report: &Report) -> String {
    let steps = report.steps.iter().filter_map(|step| match &step.outcome {
        Outcome::Warn(complaint) => Some(command("warning", &step.title, &whole(complaint))),
        Outcome::Fail(complaint) => Some(command("error", &step.title, &whole(complaint))),
        Outcome::Pass(_) | Outcome::Skip(_) => None,
    });
    let name = match &report.verdict {
        Verdict::Listed { .. } => "notice",
        Verdict::FailedDependency(_) => "error",
    };
    let title = format!("OpenAI would have answered {}", report.server_label);
    let verdict = format!("{}\n({EMULATED})", answer(report));
    let lines: Vec<String> = steps.chain([command(name, &title, &verdict)]).collect();
    lines.join("\n")
}

fn command(name: &str, title: &str, message: &str) -> String {
    let title = escaped(&one_line(title))
        .replace(':', "%3A")
        .replace(',', "%2C");
    format!(
        "::{name} title={title}::{}",
        escaped(&for_terminal(message))
    )
}

/// A line end would end the command, and what follows could be another.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::super::{hostile, unauthorized};
    use super::*;

    #[test]
    fn what_is_wrong_is_annotated_and_no_text_is_a_command_of_its_own() {
        let annotations = github(&hostile(unauthorized()));
        insta::assert_snapshot!(annotations, @r#"
        ::warning title=names%2C 100%25%3A fit::`a[2Jb`%0A::error::x
        ::error title=no <credentials> & "none"::HTTP 401 ]]></failure>%0Ahint: pass `--authorization`
        ::error title=OpenAI would have answered dice::HTTP 424%0A{%0A  "error": {%0A    "message": "Error retrieving tool list from MCP server: 'dice'. Http status code: 401 (Unauthorized)",%0A    "type": "external_connector_error",%0A    "param": "tools",%0A    "code": "http_error"%0A  }%0A}%0A(emulated from outside; OpenAI was not asked)
        "#);
        assert!(annotations.lines().all(|it| it.starts_with("::")));
    }

    #[test]
    fn a_list_is_a_notice() {
        let mut report = hostile(Verdict::Listed { tools: 3 });
        report.steps.clear();
        insta::assert_snapshot!(github(&report), @"::notice title=OpenAI would have answered dice::listed 3 tools%0A(emulated from outside; OpenAI was not asked)");
    }
}
