//! Files that a verb reads and writes: FIFOs, modes, and signals while it waits for one.
#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{McpCli, dice_server};

const O_NONBLOCK: i32 = 0o4000;
const SIGINT: i32 = 2;

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg("-m600").arg(path).status();
    assert!(made.unwrap().success());
}

/// Waits until somebody reads the FIFO, and leaves it open without a word.
fn silent_writer(fifo: &Path) -> File {
    let began = Instant::now();
    loop {
        // Without a reader, opening it for writing fails.
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(fifo);
        if let Ok(writer) = opened {
            return writer;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "nobody reads it");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn interrupted(mut child: Child) -> Option<i32> {
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.signal();
        }
        if began.elapsed() > Duration::from_secs(5) {
            child.kill().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn ctrl_c_ends_every_verb_that_waits_for_a_file() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    let path = fifo.to_str().unwrap();
    let (at, script) = (format!("@{path}"), format!("script:{path}"));
    for args in [
        &["ask", "--local", "-m", &script, "Hi"][..],
        &["ask", "--api-key", &at, "Hi"],
        &["ask", "--bridge", "--api-key", &at, "Hi"],
        &["ask", "--local", "--authorization", &at, "Hi"],
        &["ask", "--local", "--header-file", path, "Hi"],
        &["ask", "--local", "--mcp-config", path, "Hi"],
        &["ask", "--local", "--schema", path, "Hi"],
        &["tools", "call", "roll_dice", "--input-json", &at],
        &[
            "check",
            "--server-url",
            "http://127.0.0.1:9/mcp",
            "--against",
            path,
        ],
        &["gateway", "--no-auth", "-m", &script],
        &["gateway", "--api-key-file", path],
        &[
            "gateway",
            "--no-auth",
            "-m",
            "upstream",
            "--upstream-api-key",
            &at,
        ],
        &["serve", "--auth", "--public-key", path],
        &["serve", "--auth", "--jwks", path],
        &[
            "serve",
            "--auth",
            "--print-token",
            "--key-dir",
            folder.path().to_str().unwrap(),
        ],
        &["token", "verify", "a.b.c", "--public-key", path],
        &["token", "--key", path],
    ] {
        let key = folder.path().join("dev-key.pem");
        if args.contains(&"--key-dir") {
            fs::rename(&fifo, &key).unwrap();
        }
        let waits_for = if key.exists() { &key } else { &fifo };
        let child = Command::new(env!("CARGO_BIN_EXE_mcp-cli"))
            .args(args)
            .env_clear()
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let writer = silent_writer(waits_for);
        assert_eq!(interrupted(child), Some(SIGINT), "{args:?}");
        drop(writer);
        if key.exists() {
            fs::rename(&key, &fifo).unwrap();
        }
    }
}

#[test]
fn a_file_may_come_out_of_another_program() {
    let server = dice_server();
    let line = format!(
        "\"$0\" ask --local -q -m script:<(echo '[{{\"say\": \"Played.\"}}]') \
         --mcp-config <(echo '{{\"mcpServers\": {{\"dice\": {{\"url\": \"{}\"}}}}}}') Go && \
         \"$0\" token verify \"$(\"$0\" token --audience dice-server)\" --public-key <(\"$0\" token public-key)",
        server.url
    );
    let home = TempDir::new().unwrap();
    let run = Command::new("bash")
        .args(["-c", &line, env!("CARGO_BIN_EXE_mcp-cli")])
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    let stdout = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(stdout.starts_with("Played.\nvalid: for "), "{stdout}");
}

#[test]
fn what_was_said_is_kept_for_its_owner_alone() {
    let home = TempDir::new().unwrap();
    let run = McpCli::new(&["ask", "--local", "Roll a few dice!"])
        .home(home.path())
        .run();
    assert_eq!(run.exit, Some(0), "{run}");
    let mut folder = home.path().to_owned();
    for name in [".local", "state", "mcp-cli"] {
        folder.push(name);
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
    }
    let file = folder.join("last-conversation.json");
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
