//! A person at a terminal, and outputs that are not one.

use std::process::{Command, Stdio};

use rexpect::session::{PtySession, spawn_command};
use tempfile::TempDir;

use crate::support::{Answer, Api, Desk, Faulty, KEY, Server, Step, dice_server};

const SECONDS: u64 = 1000;

/// The binary on a real pseudo-terminal of 24 by 80, with a home folder of its own.
fn terminal(home: &TempDir, args: &[&str]) -> PtySession {
    terminal_of(80, home, args)
}

/// The same with so many columns.
fn terminal_of(columns: u16, home: &TempDir, args: &[&str]) -> PtySession {
    // The shell tells the id of the process that it becomes.
    let line = format!("stty rows 24 cols {columns}; echo pid $$ end; exec \"$0\" \"$@\"");
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &line, env!("CARGO_BIN_EXE_mcp-cli")])
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .env("TERM", "xterm-256color")
        .env("OPENAI_API_KEY", KEY);
    spawn_command(command, Some(10 * SECONDS)).unwrap()
}

fn ask<'a>(server: &'a Server, question: &'a str) -> Vec<&'a str> {
    vec![
        "ask",
        "--local",
        "--server-url",
        &server.url,
        "--server-label",
        "dice",
        question,
    ]
}

/// The library keeps the type of a status to itself; what it prints is `Exited(Pid(1), 0)`.
fn exit_status(terminal: &PtySession) -> i32 {
    let status = format!("{:?}", terminal.process().wait().unwrap());
    let (_, code) = status.rsplit_once(", ").unwrap();
    assert!(status.starts_with("Exited"), "{status}");
    code.trim_end_matches(')').parse().unwrap()
}

#[test]
fn a_person_is_shown_the_whole_call_and_may_say_yes() {
    let (server, home) = (dice_server(), TempDir::new().unwrap());
    let mut terminal = terminal(&home, &ask(&server, "Roll 3 dice"));
    terminal
        .exp_string("The model wants to call dice.roll_dice {\"n_dice\":3}")
        .unwrap();
    let question = format!("Let it call dice.roll_dice at {}? (y/N)", server.url);
    terminal.exp_string(&question).unwrap();
    terminal.send_line("y").unwrap();
    terminal
        .exp_string("You rolled 3 dice and got the following results: ")
        .unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 0);
}

#[test]
fn enter_alone_is_a_no() {
    let (server, home) = (dice_server(), TempDir::new().unwrap());
    let mut terminal = terminal(&home, &ask(&server, "Roll 3 dice"));
    terminal.exp_string("(y/N)").unwrap();
    terminal.send_line("").unwrap();
    terminal
        .exp_string("because the call was not approved")
        .unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 7);
}

#[test]
fn the_arguments_of_a_call_are_complete_and_cannot_drive_the_terminal() {
    let home = TempDir::new().unwrap();
    let arguments = serde_json::json!({"text": "\u{1b}[2J\u{202e}evil\r".to_owned() + &"x".repeat(500) + "END"});
    let held = serde_json::json!({"id": "resp_1", "object": "response", "status": "completed", "output": [
        {"type": "mcp_approval_request", "id": "mcpr_1", "name": "wipe", "server_label": "s",
         "arguments": arguments["text"]}]});
    let api = Api::start([Answer::json(200, &held)]);
    let args = ["ask", "--base-url", &api.base_url, "--server-label", "s"];
    let args = [&args[..], &["--server-url", "https://s.example/mcp", "Go"]].concat();
    let mut terminal = terminal(&home, &args);
    terminal
        .exp_string("The model wants to call s.wipe \\u{1b}[2J\\u{202e}evil\\r")
        .unwrap();
    terminal.exp_string("END").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 130);
}

#[test]
fn ctrl_c_ends_the_question_and_the_connection() {
    let home = TempDir::new().unwrap();
    let hangs = Faulty::start([
        Step::Write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec()),
        Step::Hang,
    ]);
    let mut terminal = terminal(&home, &["ask", "--base-url", &hangs.base_url(), "Go"]);
    terminal.exp_string("waiting for the answer").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 130);
    assert!(hangs.was_left(), "the connection is still open");
}

#[test]
fn sigterm_ends_the_question_even_while_a_person_is_asked() {
    let (server, home) = (dice_server(), TempDir::new().unwrap());
    let mut terminal = terminal(&home, &ask(&server, "Roll 3 dice"));
    terminal.exp_string("pid ").unwrap();
    let pid = terminal.exp_string(" end").unwrap();
    terminal.exp_string("(y/N)").unwrap();
    let kill = Command::new("kill").arg(pid.trim()).status().unwrap();
    assert!(kill.success());
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 143);
}

#[test]
fn what_had_come_is_shown_when_it_is_stopped() {
    let home = TempDir::new().unwrap();
    let delta = "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\
        \"content_index\":0,\"delta\":\"Half an answer\"}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let hangs = Faulty::start([
        Step::Write(format!("{head}{delta}").into_bytes()),
        Step::Hang,
    ]);
    let mut terminal = terminal(&home, &["ask", "--base-url", &hangs.base_url(), "Go"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    terminal.send_control('c').unwrap();
    terminal.exp_string("Half an answer").unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 130);
}

#[test]
fn nothing_is_drawn_into_json() {
    let (server, home) = (dice_server(), TempDir::new().unwrap());
    let mut arguments = ask(&server, "Roll 3 dice");
    arguments.extend(["--require-approval", "never", "--format", "jsonl"]);
    let mut terminal = terminal(&home, &arguments);
    let shown = terminal.exp_eof().unwrap();
    let lines = shown
        .lines()
        .filter(|line| line.contains("sequence_number"));
    for line in lines {
        // What is left of the line that was waited on is taken away before.
        let drawn = line
            .rsplit("\u{1b}[2K")
            .next()
            .unwrap()
            .trim_start_matches('\r');
        assert!(drawn.starts_with('{'), "{line:?}");
    }
}

#[test]
fn what_a_model_says_cannot_drive_the_terminal_and_is_rendered() {
    let text = "**Bold** \u{1b}]52;c;Y2FuYXJ5\u{7}\u{9b}31mred\u{202e}\n\n- one\n- two\n";
    let said = serde_json::json!({"id": "resp_1", "object": "response", "status": "completed", "output": [
        {"type": "message", "id": "msg_1", "role": "assistant",
         "content": [{"type": "output_text", "text": text}]}]});
    let home = TempDir::new().unwrap();
    for (option, rendered) in [
        ("--quiet", true),
        ("--no-markdown", false),
        ("--format=jsonl", false),
        ("--json", false),
    ] {
        let api = Api::start([Answer::json(200, &said)]);
        let mut terminal = terminal(&home, &["ask", "--base-url", &api.base_url, option, "Go"]);
        let shown = terminal.exp_eof().unwrap();
        assert!(!shown.contains("\u{1b}]52"), "{shown:?}");
        assert!(
            !shown.contains(['\u{9b}', '\u{7}', '\u{202e}']),
            "{shown:?}"
        );
        assert_eq!(shown.contains("**Bold**"), !rendered, "{shown:?}");
        assert!(shown.contains("Bold") && shown.contains("two"), "{shown:?}");
    }
    // In a pipe, the bytes are the model's.
    let api = Api::start([Answer::json(200, &said)]);
    let run = crate::support::McpCli::new(&["ask", "--base-url", &api.base_url, "-q", "Go"])
        .env("OPENAI_API_KEY", KEY)
        .run();
    assert_eq!(run.stdout, text);
}

#[test]
fn a_full_disk_is_exit_1_and_a_reader_that_leaves_is_no_panic() {
    let server = dice_server();
    let home = TempDir::new().unwrap();
    let shell = |tail: &str| {
        let line = format!(
            "\"$0\" ask --local --require-approval never --format jsonl --server-url {} 'Roll 10000 dice' {tail}",
            server.url
        );
        Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_mcp-cli")])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let full = shell("> /dev/full");
    let stderr = String::from_utf8(full.stderr).unwrap();
    assert_eq!(full.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("the output could not be written"),
        "{stderr}"
    );

    let left = shell("| head -1");
    let stderr = String::from_utf8(left.stderr).unwrap();
    assert_eq!(stderr, "", "a reader that has enough is no failure");
    assert!(left.stdout.starts_with(b"{\"type\":\"response.created\""));
}

/// What a model that calls `wipe` with these arguments shows, up to the question.
fn asked_about(columns: u16, name: &str, arguments: &str) -> (PtySession, String) {
    let held = serde_json::json!({"id": "resp_1", "object": "response", "status": "completed", "output": [
        {"type": "mcp_approval_request", "id": "mcpr_1", "name": name, "server_label": "s",
         "arguments": arguments}]});
    let api = Api::start([Answer::json(200, &held)]);
    let home = TempDir::new().unwrap();
    let args = [
        "ask",
        "-q",
        "--base-url",
        &api.base_url,
        "--server-label",
        "s",
    ];
    let server = [
        "--server-url",
        "https://me:pw@s.example/mcp?key=canary",
        "Go",
    ];
    let mut terminal = terminal_of(columns, &home, &[&args[..], &server].concat());
    terminal.exp_string("The model wants to call ").unwrap();
    let shown = terminal.exp_string("(y/N").unwrap();
    (terminal, shown)
}

#[test]
fn a_long_call_fits_the_screen_and_is_shown_whole_to_who_asks_for_it() {
    let arguments = format!(
        "{{\"a\": \"{}evil{}\", \"z\": \"last\"}}",
        "x".repeat(4000),
        "\u{2800}y".repeat(4000)
    );
    for columns in [80, 40] {
        let (mut terminal, shown) = asked_about(columns, "wi\u{200b}pe", &arguments);
        let is_on_screen = shown.chars().count() < 23 * usize::from(columns);
        assert!(is_on_screen, "{columns}: {shown}");
        for seen in [
            "s.\"wi\\u{200b}pe\" {\"a\": \"xxx",
            " characters left out] ",
            "\"z\": \"last\"}\r\nLet it call s.\"wi\\u{200b}pe\" at https://s.example/mcp? ",
        ] {
            assert!(shown.contains(seen), "{columns}: {seen} is not in {shown}");
        }
        assert!(!shown.contains(['\u{200b}', '\u{2800}']), "{shown}");
        terminal.send_line("v").unwrap();
        let whole = terminal.exp_string("(y/N").unwrap();
        assert!(whole.contains("xevil\\u{2800}y"), "{whole}");
        terminal.send_line("maybe").unwrap();
        terminal.exp_string("Answer y or n.").unwrap();
        terminal.send_control('c').unwrap();
        terminal.exp_eof().unwrap();
        assert_eq!(exit_status(&terminal), 130);
    }
}

#[test]
fn ctrl_u_and_ctrl_w_take_back_what_was_typed_and_ctrl_d_is_a_no() {
    for (typed, taken_back) in [("y", 'u'), ("yes", 'w')] {
        let (server, home) = (dice_server(), TempDir::new().unwrap());
        let mut terminal = terminal(&home, &ask(&server, "Roll 3 dice"));
        terminal.exp_string("(y/N)").unwrap();
        terminal.send(typed).unwrap();
        terminal.send_control(taken_back).unwrap();
        terminal.send_line("").unwrap();
        terminal.exp_eof().unwrap();
        assert_eq!(exit_status(&terminal), 7);
    }
    let (server, home) = (dice_server(), TempDir::new().unwrap());
    let mut terminal = terminal(&home, &ask(&server, "Roll 3 dice"));
    terminal.exp_string("(y/N)").unwrap();
    terminal.send_control('d').unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 7);
}

#[test]
fn what_was_typed_before_the_question_is_no_answer_to_it() {
    let (desk, home) = (Desk::start(), TempDir::new().unwrap());
    desk.hold_lists();
    let mut terminal = terminal(
        &home,
        &["ask", "--local", "--server-url", &desk.url, "Ring the bell"],
    );
    desk.wait_for_list();
    terminal.send_line("y").unwrap();
    desk.release();
    terminal.exp_string("(y/N)").unwrap();
    terminal.send_line("n").unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(exit_status(&terminal), 7);
    assert_eq!(desk.called(), 0);
}
