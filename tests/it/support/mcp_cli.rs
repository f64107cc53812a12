//! `McpCli`: the binary in a clean environment, and what a run of it gave.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use regex::Regex;
use tempfile::TempDir;

/// The binary with arguments, and a home folder of its own.
pub struct McpCli {
    command: Command,
    stdin: Option<String>,
    home: TempDir,
}

impl McpCli {
    pub fn new(args: &[&str]) -> Self {
        let home = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-cli"));
        command.args(args).env_clear().env("HOME", home.path());
        Self {
            command,
            stdin: None,
            home,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Shares the home folder of a fixture that outlives the run.
    pub fn home(mut self, home: &Path) -> Self {
        self.command.env("HOME", home);
        self
    }

    /// Runs to the end.
    pub fn run(mut self) -> Run {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let stdin = self.stdin.unwrap_or_default();
        // A program that does not read its input is free not to.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        drop(self.home);
        Run {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts and leaves it running; stdin stays open.
    pub fn spawn(mut self) -> (Child, TempDir) {
        let child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (child, self.home)
    }
}

/// How a run ended, and what it wrote.
#[derive(Debug)]
pub struct Run {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Exit status and both outputs, without what differs from run to run: times and ports.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static TIME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\(\d+\.\d ms\)").unwrap());
        static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"127\.0\.0\.1:\d+").unwrap());
        let exit = self.exit.map_or("signal".to_owned(), |it| it.to_string());
        let whole = format!(
            "exit: {exit}\n----- stdout -----\n{}----- stderr -----\n{}",
            self.stdout, self.stderr
        );
        let whole = TIME.replace_all(&whole, "(N ms)");
        f.write_str(&PORT.replace_all(&whole, "127.0.0.1:PORT"))
    }
}
