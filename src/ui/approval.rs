//! Calls that need approval: shown within the screen, asked about, and what became of them.

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Write};

use console::Term;

use super::sanitize::{one_line, shortened, tool_name};
use crate::error::Error;
use crate::responses::McpApprovalRequest;

/// The most columns of a name, and of an address, in a question. Names that OpenAI takes have up to
/// 128 characters with their label.
const LONGEST_NAME: usize = 160;
const LONGEST_ADDRESS: usize = 300;
/// The most columns of arguments in the line that tells what became of a call.
const LONGEST_ARGUMENTS: usize = 160;
/// The most bytes of an answer; a terminal takes 4,096 in a line.
const LONGEST_ANSWER: usize = 4096;

/// What became of an approval request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Approved,
    Denied,
    /// There was no terminal to ask at.
    Open,
}

/// The line that tells what became of a request, with all of its arguments if it is `whole`.
pub fn told(request: &McpApprovalRequest, decision: Decision, whole: bool) -> String {
    let decision = match decision {
        Decision::Approved => "approved",
        Decision::Denied => "denied",
        Decision::Open => "needs approval",
    };
    let name = tool_name(&request.server_label, &request.name);
    let arguments = one_line(&request.arguments);
    match whole {
        true => format!("{name} {arguments} {decision}"),
        false => format!(
            "{} {} {decision}",
            shortened(&name, LONGEST_NAME),
            shortened(&arguments, LONGEST_ARGUMENTS)
        ),
    }
}

/// What a person reads before a call is made.
struct Question {
    /// The call, with as much of its arguments as the screen has room for.
    call: String,
    /// The last line, which names the tool and the server once more.
    asked: String,
    /// The arguments, if some are left out.
    whole: Option<String>,
}

/// The question for a screen of so many rows and columns. All of it is on the screen; of arguments
/// that have no room, the middle is left out.
fn question(
    request: &McpApprovalRequest,
    address: &str,
    (rows, columns): (usize, usize),
) -> Question {
    let name = tool_name(&request.server_label, &request.name);
    let name = shortened(&name, LONGEST_NAME);
    let address = one_line(address);
    let address = shortened(&address, LONGEST_ADDRESS);
    let ask = |choice: &str| format!("Let it call {name} at {address}? ({choice}) ");
    let short = ask("y/N");
    let long = ask("y/N, v shows all arguments");
    let call = format!("The model wants to call {name} ");
    // A letter of two columns can leave the last one of a row empty; a row is for the answer.
    let usable = columns.saturating_sub(1).max(1);
    let rows_of = |text: &str| console::measure_text_width(text).div_ceil(usable);
    let left = rows.saturating_sub(rows_of(&long) + rows_of(&call) + 1);
    let whole = one_line(&request.arguments);
    let arguments = shortened(&whole, left.max(1) * usable);
    let call = format!("{call}{arguments}");
    match arguments {
        Cow::Borrowed(_) => Question {
            call,
            asked: short,
            whole: None,
        },
        Cow::Owned(_) => Question {
            call,
            asked: long,
            whole: Some(whole),
        },
    }
}

/// Asks whether a call may be made at `address`.
pub fn ask(request: &McpApprovalRequest, address: &str) -> Result<bool, Error> {
    // A terminal that does not know its size says that it has none.
    let size = Term::stderr().size_checked();
    let size = size.filter(|(rows, columns)| *rows > 0 && *columns > 0);
    let size = size.unwrap_or((24, 80));
    let question = question(request, address, (size.0.into(), size.1.into()));
    let no_answer = |_| {
        let call = tool_name(&request.server_label, &request.name);
        Error::nobody_to_ask(&call, None)
    };
    forget_what_was_typed();
    let mut stderr = io::stderr();
    writeln!(stderr, "{}", question.call).map_err(Error::output)?;
    loop {
        write!(stderr, "{}", question.asked).map_err(Error::output)?;
        stderr.flush().map_err(Error::output)?;
        // The terminal edits the line itself, as its user set it up.
        let answer = read_line(io::stdin().lock()).map_err(no_answer)?;
        // The end of input, Ctrl-D, is a no to this call; Ctrl-C is a no to the whole question.
        let Some(answer) = answer else {
            return Ok(false);
        };
        if let Some(approved) = approves(&answer) {
            return Ok(approved);
        }
        let told = match &question.whole {
            Some(whole) if answer.trim() == "v" => whole,
            _ => "Answer y or n.",
        };
        writeln!(stderr, "{told}").map_err(Error::output)?;
    }
}

/// What an answer says, if it is one.
fn approves(answer: &str) -> Option<bool> {
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// Reads up to a line end; nothing where the input ends before anything came.
fn read_line(source: impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    for byte in source.take(LONGEST_ANSWER as u64).bytes() {
        match byte? {
            b'\n' | b'\r' => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            byte => line.push(byte),
        }
    }
    Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()))
}

/// What was typed before there was a question is no answer to it.
fn forget_what_was_typed() {
    #[cfg(unix)]
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn request(name: &str, arguments: &str) -> McpApprovalRequest {
        McpApprovalRequest {
            id: "mcpr_1".to_owned(),
            arguments: arguments.to_owned(),
            name: name.to_owned(),
            server_label: "files".to_owned(),
            rest: Map::new(),
        }
    }

    #[test]
    fn the_question_names_the_tool_and_the_server() {
        let request = request("read_file", r#"{"path":"a"}"#);
        let Question { call, asked, whole } =
            question(&request, "http://127.0.0.1:1/mcp", (24, 80));
        assert_eq!(whole, None);
        assert_eq!(
            call,
            r#"The model wants to call files.read_file {"path":"a"}"#
        );
        assert_eq!(
            asked,
            "Let it call files.read_file at http://127.0.0.1:1/mcp? (y/N) "
        );
    }

    #[test]
    fn a_question_fits_the_screen_and_shows_the_end_of_the_arguments() {
        let long = |filler: &str| json!({"a": filler.repeat(5000), "z": "last"}).to_string();
        let address = format!("http://127.0.0.1:1/{}", "x".repeat(500));
        for name in [
            "read_file".to_owned(),
            "n".repeat(500),
            "\u{2800} ".repeat(900),
        ] {
            for arguments in [
                "v",
                "\u{2800}",
                "\u{2800} ",
                "\u{5b57}",
                "\u{e0041}\u{200b}",
                "\\n",
            ]
            .map(long)
            {
                for (rows, columns) in [(24, 80), (24, 40), (12, 80), (50, 200)] {
                    let request = request(&name, &arguments);
                    let Question { call, asked, whole } =
                        question(&request, &address, (rows, columns));
                    let rows_of =
                        |text: &str| console::measure_text_width(text).div_ceil(columns - 1);
                    let height = rows_of(&call) + rows_of(&asked);
                    assert!(height < rows, "{height} of {rows}: {call}\n{asked}");
                    assert!(call.ends_with("last\"}"), "{call}");
                    assert_eq!(asked.contains("v shows all"), whole.is_some(), "{asked}");
                }
            }
        }
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, approved) in [
            ("y", Some(true)),
            (" YES ", Some(true)),
            ("", Some(false)),
            ("n", Some(false)),
            ("No", Some(false)),
            ("yn", None),
            ("\u{1b}", None),
            ("y\u{200b}", None),
        ] {
            assert_eq!(approves(answer), approved, "{answer:?}");
        }
        assert_eq!(read_line(&b"y\nn\n"[..]).unwrap().as_deref(), Some("y"));
        assert_eq!(read_line(&b""[..]).unwrap(), None);
        let endless = read_line(io::BufReader::new(io::repeat(b'y')))
            .unwrap()
            .unwrap();
        assert_eq!(endless.len(), LONGEST_ANSWER);
    }
}
