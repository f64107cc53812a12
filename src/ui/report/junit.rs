//! A report as JUnit XML, which every CI reads.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{EMULATED, answer, whole};
use crate::check::{Outcome, Report, Step};
use crate::ui::sanitize::{for_terminal, one_line};

/// The report as an XML document: a test suite, and in it a test case a step, by the step's id as its
/// class. A warning is a test that passed and wrote it to `system-out`, as does what there is to say of
/// a pass; the verdict is in that of the suite.
pub fn junit(reports: &[Report]) -> String {
    let mut document = quick_junit::Report::new("mcp-cli check");
    document.add_test_suites(reports.iter().map(suite));
    let steps = reports.iter().flat_map(|report| &report.steps);
    document.set_time(steps.map(|step| step.duration).sum());
    document
        .to_string()
        .expect("text is written as text, and memory takes all of it")
}

fn suite(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new(line(&format!("mcp-cli check {}", report.server_label)));
    suite.add_test_cases(report.steps.iter().map(case));
    let time: Duration = report.steps.iter().map(|step| step.duration).sum();
    suite.set_time(time);
    suite.set_system_out(lines(&format!(
        "OpenAI would have answered ({EMULATED}):\n{}",
        answer(report)
    )));
    suite
}

fn case(step: &Step) -> TestCase {
    let (status, written) = match &step.outcome {
        Outcome::Pass(note) => (TestCaseStatus::success(), note.clone()),
        Outcome::Warn(complaint) => {
            let warning = format!("warning: {}", whole(complaint));
            (TestCaseStatus::success(), Some(warning))
        }
        Outcome::Fail(complaint) => {
            let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failure
                .set_type(step.id)
                .set_message(line(&complaint.cause))
                .set_description(lines(&whole(complaint)));
            (failure, None)
        }
        Outcome::Skip(why) => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(line(why));
            (skipped, None)
        }
    };
    let mut case = TestCase::new(line(&step.title), status);
    case.set_classname(format!("mcp-cli.check.{}", step.id));
    case.set_time(step.duration);
    if let Some(written) = written {
        case.set_system_out(lines(&written));
    }
    case
}

/// Text for an attribute: an XML reader would make blanks of line ends.
fn line(text: &str) -> String {
    one_line(text).replace(is_no_character, "")
}

fn lines(text: &str) -> String {
    for_terminal(text).replace(is_no_character, "")
}

/// What is left that no XML document may have (XML 1.0, characters).
fn is_no_character(character: char) -> bool {
    matches!(character, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::super::{hostile, unauthorized};
    use super::*;
    use crate::check::Verdict;

    fn read(xml: &str) -> TestSuite {
        let mut report = quick_junit::Report::deserialize_from_str(xml).unwrap();
        assert_eq!(report.test_suites.len(), 1);
        report.test_suites.remove(0)
    }

    #[test]
    fn a_ci_reads_a_test_case_a_step() {
        let suite = read(&junit(&[hostile(unauthorized())]));
        assert_eq!((suite.tests, suite.failures, suite.skipped), (5, 1, 1));
        assert_eq!(&suite.name, "mcp-cli check dice");
        assert_eq!(suite.time, Some(Duration::from_millis(1_502)));

        let warned = &suite.test_cases[2];
        assert_eq!(&warned.name, "names, 100%: fit");
        assert_eq!(
            warned.classname.as_deref(),
            Some("mcp-cli.check.lint_names")
        );
        assert_eq!(warned.status, TestCaseStatus::success());
        assert_eq!(
            warned.system_out.as_deref(),
            Some("warning: `a[2Jb`\n::error::x")
        );

        let failed = &suite.test_cases[3];
        assert_eq!(&failed.name, "no <credentials> & \"none\"");
        let TestCaseStatus::NonSuccess {
            message,
            description,
            ..
        } = &failed.status
        else {
            panic!("not a failure: {failed:?}");
        };
        assert_eq!(message.as_deref(), Some("HTTP 401 ]]></failure>\\u{0}"));
        assert_eq!(
            description.as_deref(),
            Some("HTTP 401 ]]></failure>\nhint: pass `--authorization`")
        );

        let TestCaseStatus::Skipped { message, .. } = &suite.test_cases[4].status else {
            panic!("not skipped: {:?}", suite.test_cases[4]);
        };
        assert_eq!(message.as_deref(), Some("no --call"));
        let verdict = suite.system_out.unwrap();
        assert!(verdict.contains("'dice'. Http status code: 401 (Unauthorized)"));
    }

    #[test]
    fn the_verdict_on_a_list_is_told_to_a_ci_too() {
        let suite = read(&junit(&[hostile(Verdict::Listed { tools: 3 })]));
        let verdict = suite.system_out.unwrap();
        assert!(verdict.ends_with("listed 3 tools"), "{}", verdict.as_str());
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_server_says_makes_a_document(said in "(\\PC|\\p{Cc}|[<>&\"'\\]]|\u{ffff}|[a-z]){0,40}") {
            let mut report = hostile(unauthorized());
            report.server_label.clone_from(&said);
            for step in &mut report.steps {
                step.title.clone_from(&said);
                match &mut step.outcome {
                    Outcome::Pass(note) => *note = Some(said.clone()),
                    Outcome::Skip(why) => why.clone_from(&said),
                    Outcome::Warn(complaint) | Outcome::Fail(complaint) => {
                        complaint.cause.clone_from(&said);
                        complaint.hint = Some(said.clone());
                    }
                }
            }
            let xml = junit(std::slice::from_ref(&report));
            let legal = |it| matches!(it, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..);
            proptest::prop_assert!(xml.chars().all(legal), "{xml:?}");
            let suite = read(&xml);
            proptest::prop_assert_eq!(suite.test_cases.len(), 5);
            proptest::prop_assert_eq!(suite.test_cases[0].name.as_str(), line(&said));
        }
    }
}
