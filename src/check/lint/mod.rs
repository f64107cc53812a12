//! A list of tools, held against what OpenAI and those who speak like it make of it.

mod schema;
mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::check::words::{few, quoted};
use crate::check::{Complaint, Outcome, Step};
use crate::mcp::Tool;
use crate::responses::MCPTool;
use crate::schema::{TooLarge, Work};

/// The longest name of a tool that OpenAI takes as a function: `^[a-zA-Z0-9_-]{1,128}$`.
const LONGEST_NAME: usize = 128;

/// The longest name of a function elsewhere (Chat Completions, function tools).
const LONGEST_NAME_ELSEWHERE: usize = 64;

/// One step a rule, those that hold included. The tools are those of the server `label`, as it
/// sent them; `entry` is the tool entry that names it, for what it leaves out.
pub fn lint(label: &str, tools: &[Tool], entry: &MCPTool) -> Vec<Step> {
    vec![
        names(tools),
        duplicates(label, tools),
        security_schemes(tools),
        schemas(tools),
        references(tools),
        strict(tools),
        descriptions(tools),
        parameter_descriptions(tools),
        read_only_hints(tools),
        other_hints(tools),
        task_support(tools),
        size::size(label, tools, entry),
    ]
}

/// Names that more than one server has: the lists of all servers of a request, by label.
pub fn across(lists: &[(&str, &[Tool])]) -> Step {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (label, tools) in lists {
        for tool in *tools {
            labels.entry(tool.name()).or_default().insert(label);
        }
    }
    let shared = labels.iter().filter(|(_, labels)| labels.len() > 1);
    let shared = shared.map(|(name, labels)| {
        let labels: Vec<String> = labels.iter().map(|label| quoted(label)).collect();
        format!("{} of {}", quoted(name), few(&labels, ", "))
    });
    rule(
        "lint_names_across_servers",
        "no two servers have tools of one name",
        warning(
            &shared.collect::<Vec<_>>(),
            "; ",
            |shared| format!("the model can distinguish them only by their servers: {shared}"),
            "leave one of each out with `allowed_tools`, or say in the descriptions which is for what",
        ),
    )
}

fn names(tools: &[Tool]) -> Step {
    let (fit, refused): (Vec<&Tool>, Vec<&Tool>) = tools
        .iter()
        .partition(|tool| is_function_name(tool.name(), LONGEST_NAME));
    let long = fit
        .into_iter()
        .filter(|tool| !is_function_name(tool.name(), LONGEST_NAME_ELSEWHERE));
    let (refused, long) = (named(refused), named(long));
    let mut causes = Vec::new();
    if !refused.is_empty() {
        let refused = few(&refused, ", ");
        causes.push(format!(
            "names outside `^[a-zA-Z0-9_-]{{1,128}}$`, which OpenAI refuses as those of functions: {refused}"
        ));
    }
    if !long.is_empty() {
        let long = few(&long, ", ");
        causes.push(format!(
            "names longer than the 64 characters that other endpoints take: {long}"
        ));
    }
    let outcome = match causes.is_empty() {
        true => Outcome::Pass(None),
        // OpenAI's own connector was recorded to take them as they are.
        false => Outcome::Warn(Complaint {
            cause: causes.join("; "),
            hint: Some(
                "use letters, digits, `_` and `-`: many clients pass MCP tools on as functions"
                    .to_owned(),
            ),
        }),
    };
    rule("lint_names", "names are valid function names", outcome)
}

fn is_function_name(name: &str, longest: usize) -> bool {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    (1..=longest).contains(&name.len()) && name.bytes().all(allowed)
}

fn duplicates(label: &str, tools: &[Tool]) -> Step {
    let mut seen = BTreeSet::new();
    let twice = tools.iter().filter(|tool| !seen.insert(tool.name()));
    let twice: BTreeSet<String> = named(twice).into_iter().collect();
    let twice: Vec<String> = twice.into_iter().collect();
    let outcome = match twice.is_empty() {
        true => Outcome::Pass(None),
        false => Outcome::Fail(Complaint {
            cause: format!(
                "{} lists more than one tool of the name {}",
                quoted(label),
                few(&twice, ", ")
            ),
            hint: Some(
                "give each tool a name of its own: a call names nothing else (MCP, tools)"
                    .to_owned(),
            ),
        }),
    };
    rule("lint_duplicates", "no two tools have one name", outcome)
}

/// Whether OpenAI fails to parse the whole list.
pub fn does_not_parse(tools: &[Tool]) -> bool {
    tools.iter().any(has_odd_schemes)
}

fn has_odd_schemes(tool: &Tool) -> bool {
    let schemes = tool.meta("securitySchemes");
    !matches!(schemes, None | Some(Value::Array(_) | Value::Null))
}

fn security_schemes(tools: &[Tool]) -> Step {
    let odd = named(tools.iter().filter(|tool| has_odd_schemes(tool)));
    let outcome = match odd.is_empty() {
        true => Outcome::Pass(None),
        false => Outcome::Fail(Complaint {
            cause: format!(
                "`_meta.securitySchemes` is not an array, and the whole list does not parse at OpenAI: {}",
                few(&odd, ", ")
            ),
            hint: Some("send `\"securitySchemes\": [{...}]`, or leave it out".to_owned()),
        }),
    };
    rule(
        "lint_security_schemes",
        "`securitySchemes` are arrays",
        outcome,
    )
}

fn schemas(tools: &[Tool]) -> Step {
    let odd = found(tools, |tool, work| {
        let mut odd = schema::shape(tool.input_schema());
        odd.extend(schema::refused_parts(tool.input_schema(), work)?);
        Ok(odd)
    });
    rule(
        "lint_schemas",
        "each `inputSchema` is an object with `properties`",
        warning(
            &odd,
            "; ",
            |odd| format!("OpenAI refuses such parameters of a function: {odd}"),
            "send `\"type\": \"object\"` and `\"properties\": {}` for a tool without parameters too, and `items` for every array",
        ),
    )
}

fn references(tools: &[Tool]) -> Step {
    let lost = found(tools, |tool, work| {
        schema::lost_references(tool.input_schema(), work)
    });
    let outcome = match lost.is_empty() {
        true => {
            let mut work = Work::of_list();
            let recursive = named(tools.iter().filter(|tool| {
                work.next_schema();
                schema::is_recursive(tool.input_schema(), &mut work) == Ok(true)
            }));
            let recursive = (!recursive.is_empty()).then(|| few(&recursive, ", "));
            Outcome::Pass(recursive.map(|tools| format!("recursive, which is allowed: {tools}")))
        }
        false => Outcome::Warn(Complaint {
            cause: format!("a `$ref` that nobody follows: {}", few(&lost, "; ")),
            hint: Some("put what it means under `$defs` of the same schema".to_owned()),
        }),
    };
    rule(
        "lint_refs",
        "each `$ref` stays within its schema and leads somewhere",
        outcome,
    )
}

fn strict(tools: &[Tool]) -> Step {
    let refused = found(tools, |tool, work| {
        schema::not_strict(tool.input_schema(), work)
    });
    rule(
        "lint_strict",
        "schemas can be those of strict functions",
        warning(
            &refused,
            "; ",
            |refused| format!("strict mode refuses {refused}"),
            "only where tools are passed on as strict functions: `additionalProperties: false`, every \
             property in `required` (a type with `null` makes it optional), `anyOf` for `oneOf`",
        ),
    )
}

fn descriptions(tools: &[Tool]) -> Step {
    let silent = tools.iter().filter(|tool| is_blank(tool.description()));
    rule(
        "lint_descriptions",
        "tools have descriptions",
        warning(
            &named(silent),
            ", ",
            |silent| format!("the model chooses by the description, which is missing: {silent}"),
            "say what the tool does, and when it is to be called",
        ),
    )
}

fn parameter_descriptions(tools: &[Tool]) -> Step {
    let silent = found(tools, |tool, work| {
        work.spend(tool.input_schema().len() as u64)?;
        let parameters = tool.input_schema().get("properties");
        let parameters = parameters.and_then(Value::as_object).into_iter().flatten();
        let silent = parameters.filter(|(_, schema)| is_blank(schema["description"].as_str()));
        Ok(silent.map(|(name, _)| quoted(name)).collect())
    });
    rule(
        "lint_parameter_descriptions",
        "parameters have descriptions",
        warning(
            &silent,
            "; ",
            |silent| format!("the model fills parameters by their names alone: {silent}"),
            "say what each parameter means, with its unit and an example",
        ),
    )
}

fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.trim().is_empty())
}

fn read_only_hints(tools: &[Tool]) -> Step {
    let silent = tools
        .iter()
        .filter(|tool| tool.hint("readOnlyHint").is_none());
    rule(
        "lint_read_only_hints",
        "tools say whether they only read",
        warning(
            &named(silent),
            ", ",
            |silent| {
                format!("no `readOnlyHint`, and so taken as tools that change something: {silent}")
            },
            "annotate them: `require_approval` and `allowed_tools` by `read_only` work by that alone",
        ),
    )
}

fn other_hints(tools: &[Tool]) -> Step {
    let silent = tools.iter().filter_map(|tool| {
        // What only reads destroys nothing.
        let wanted: &[&str] = match tool.hint("readOnlyHint") {
            Some(true) => &["openWorldHint"],
            Some(false) | None => &["destructiveHint", "openWorldHint"],
        };
        let missing = wanted.iter().filter(|hint| tool.hint(hint).is_none());
        let missing: Vec<String> = missing.map(|hint| quoted(hint)).collect();
        (!missing.is_empty()).then(|| format!("{} ({})", quoted(tool.name()), missing.join(", ")))
    });
    rule(
        "lint_hints",
        "tools declare `destructiveHint` and `openWorldHint`",
        warning(
            &silent.collect::<Vec<_>>(),
            "; ",
            |silent| format!("OpenAI's review of apps asks for each hint, with a reason: {silent}"),
            "set `destructiveHint` (it may delete or overwrite) and `openWorldHint` (it acts beyond a closed system) to true or false",
        ),
    )
}

fn task_support(tools: &[Tool]) -> Step {
    let required = tools.iter().filter(|tool| tool.requires_task());
    rule(
        "lint_tasks",
        "tools can be called without a task",
        warning(
            &named(required),
            ", ",
            |required| {
                format!("`taskSupport` is `required`, and OpenAI calls without a task: {required}")
            },
            "make it `optional`, and answer a plain call as well",
        ),
    )
}

fn named<'a>(tools: impl IntoIterator<Item = &'a Tool>) -> Vec<String> {
    tools.into_iter().map(|tool| quoted(tool.name())).collect()
}

/// The tools in which something was found, each with the first few things. A schema that is too
/// large to be looked through is such a thing.
fn found(
    tools: &[Tool],
    find: impl Fn(&Tool, &mut Work) -> Result<Vec<String>, TooLarge>,
) -> Vec<String> {
    let mut work = Work::of_list();
    let found = tools.iter().map(|tool| {
        work.next_schema();
        let found = find(tool, &mut work);
        (tool, found.unwrap_or_else(|error| vec![error.to_string()]))
    });
    found
        .filter(|(_, found)| !found.is_empty())
        .map(|(tool, found)| format!("{} ({})", quoted(tool.name()), few(&found, ", ")))
        .collect()
}

/// A warning that names what was found, and nothing to say if nothing was.
fn warning(
    found: &[String],
    separator: &str,
    cause: impl FnOnce(&str) -> String,
    hint: &str,
) -> Outcome {
    match found {
        [] => Outcome::Pass(None),
        found => Outcome::Warn(Complaint {
            cause: cause(&few(found, separator)),
            hint: Some(hint.to_owned()),
        }),
    }
}

/// A rule takes no time that is worth telling.
fn rule(id: &'static str, title: &str, outcome: Outcome) -> Step {
    Step {
        id,
        title: title.to_owned(),
        outcome,
        duration: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
