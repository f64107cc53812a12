//! Tunnels of other programs: one is started, says its public URL, and ends with the tunnel.
//!
//! The programs differ in their words alone, so that a further one is a row of `Kind::words`.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regex::Regex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::child::Child;
use crate::secret::Secret;

/// How long a program may take until it has a public URL.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end once it was told to.
const GRACE: Duration = Duration::from_secs(5);
/// The longest line that is looked at, in bytes, and how many of the last lines are kept.
const MAX_LINE: u64 = 8 * 1024;
const MOST_LINES: usize = 5;
/// Where bore's public server is.
const BORE: &str = "bore.pub";
/// The variable with the token of a named Cloudflare tunnel, which the program reads itself.
pub const CLOUDFLARE_TOKEN: &str = "TUNNEL_TOKEN";

/// A program that makes a port of this machine public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cloudflared,
    Tailscale,
    Bore,
    Localtunnel,
}

/// What is started, and what it says.
struct Words {
    program: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
    /// What its URL looks like; `None` if it does not say any.
    url: Option<&'static str>,
    /// What it says once it takes connections, if that is later than its URL.
    ready: Option<&'static str>,
    /// What to do if it is not installed.
    install: &'static str,
}

/// What a tunnel needs to know.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The port of this machine.
    pub port: u16,
    /// The public name: of a named Cloudflare tunnel, of `lt`, or the host of a bore server.
    pub domain: Option<String>,
    /// The token of a named Cloudflare tunnel.
    pub token: Option<Secret>,
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{program}` could not be started")]
    NotStarted {
        program: &'static str,
        install: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("`{program}` ended before it had a public URL{}", Said(said))]
    Ended { program: &'static str, said: String },
    #[error("`{program}` had no public URL after {} s{}", .limit.as_secs(), Said(said))]
    Late {
        program: &'static str,
        limit: Duration,
        said: String,
    },
    #[error("a named Cloudflare tunnel has its name in Cloudflare's settings, and it is not given")]
    NoName,
}

struct Said<'a>(&'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            "" => Ok(()),
            said => write!(f, "; it wrote: {said}"),
        }
    }
}

/// A running tunnel. Dropping it kills the program.
pub struct Tunnel {
    pub url: Url,
    program: &'static str,
    child: Child,
    said: Arc<Mutex<VecDeque<String>>>,
    _readers: [AbortOnDropHandle<()>; 2],
}

impl Kind {
    fn words(self, wanted: &Wanted) -> Words {
        let port = wanted.port.to_string();
        let local = format!("http://127.0.0.1:{port}");
        let all = |words: &[&str]| words.iter().map(|&it| it.to_owned()).collect();
        match self {
            // Without a configuration file: its rules would be for another tunnel.
            Self::Cloudflared if wanted.token.is_none() => Words {
                program: "cloudflared",
                arguments: all(&[
                    "tunnel",
                    "--config",
                    "/dev/null",
                    "--no-autoupdate",
                    "--url",
                    &local,
                ]),
                environment: Vec::new(),
                url: Some(r"https://[a-z0-9-]+\.trycloudflare\.com"),
                ready: Some("Registered tunnel connection"),
                install: "install cloudflared, Cloudflare's tunnel client",
            },
            Self::Cloudflared => Words {
                program: "cloudflared",
                arguments: all(&["tunnel", "--no-autoupdate", "run"]),
                environment: Vec::new(),
                url: None,
                ready: Some("Registered tunnel connection"),
                install: "install cloudflared, Cloudflare's tunnel client",
            },
            Self::Tailscale => Words {
                program: "tailscale",
                arguments: all(&["funnel", &port]),
                environment: Vec::new(),
                url: Some(r"https://[^\s/]+\.ts\.net(?::\d+)?"),
                ready: None,
                install: "install tailscale, and log in with `tailscale up`",
            },
            Self::Bore => {
                let to = wanted.domain.as_deref().unwrap_or(BORE);
                Words {
                    program: "bore",
                    arguments: all(&["local", &port, "--local-host", "127.0.0.1", "--to", to]),
                    // With fewer messages it does not say where it listens.
                    environment: vec![
                        ("NO_COLOR", "1"),
                        ("RUST_LOG", "info"),
                        ("RUST_BACKTRACE", "0"),
                    ],
                    url: Some(r"listening at (\S+:\d+)"),
                    ready: None,
                    install: "install it with `cargo install bore-cli`",
                }
            }
            Self::Localtunnel => {
                let mut arguments: Vec<String> = all(&["--port", &port]);
                if let Some(domain) = &wanted.domain {
                    let name = domain.split('.').next().unwrap_or_default();
                    arguments.extend(["--subdomain".to_owned(), name.to_owned()]);
                }
                Words {
                    program: "lt",
                    arguments,
                    environment: Vec::new(),
                    url: Some(r"your url is: (https?://\S+)"),
                    ready: None,
                    install: "install it with `npm install -g localtunnel`",
                }
            }
        }
    }
}

/// Starts a program, and waits until it has a public URL.
///
/// # Errors
/// It has none.
pub async fn start(kind: Kind, wanted: &Wanted, limit: Duration) -> Result<Tunnel, Error> {
    let words = kind.words(wanted);
    let named = match (words.url, &wanted.domain) {
        (Some(_), _) => None,
        (None, Some(domain)) => Some(Url::parse(&format!("https://{domain}"))),
        (None, None) => return Err(Error::NoName),
    };
    let named = named.transpose().map_err(|_| Error::NoName)?;
    let program = words.program;
    let mut command = Command::new(program);
    command.args(&words.arguments);
    command.envs(words.environment.iter().copied());
    if let Some(token) = &wanted.token {
        command.env(CLOUDFLARE_TOKEN, token.expose());
    }
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Child::start(&mut command, GRACE);
    let (child, pipes) = started.map_err(|source| Error::NotStarted {
        program,
        install: words.install,
        source,
    })?;
    let said = Arc::<Mutex<VecDeque<String>>>::default();
    let (lines, mut heard) = mpsc::channel(64);
    let readers = [
        read(pipes.stdout, lines.clone(), Arc::clone(&said)),
        read(pipes.stderr, lines, Arc::clone(&said)),
    ];
    let finding = async {
        let mut search = Search::new(&words, named);
        while let Some(line) = heard.recv().await {
            if let Some(url) = search.look_at(&line) {
                return Some(url);
            }
        }
        None
    };
    match tokio::time::timeout(limit, finding).await {
        Ok(Some(url)) => Ok(Tunnel {
            url,
            program,
            child,
            said,
            _readers: readers,
        }),
        Ok(None) => Err(Error::Ended {
            program,
            said: last(&said),
        }),
        Err(_) => Err(Error::Late {
            program,
            limit,
            said: last(&said),
        }),
    }
}

impl Tunnel {
    /// Waits until the program ends by itself, and returns its name and its last words.
    pub async fn ended(&self) -> (&'static str, String) {
        let process = self.child.process();
        const FOREVER: Duration = Duration::from_secs(3600 * 24 * 365);
        while process.ended_within(FOREVER).await.is_none() {}
        (self.program, last(&self.said))
    }

    /// Ends the program.
    pub async fn close(mut self) {
        self.child.terminate().await;
    }
}

/// Looks for the URL in what a program says.
struct Search {
    pattern: Option<Regex>,
    ready: Option<&'static str>,
    url: Option<Url>,
    is_ready: bool,
}

impl Search {
    fn new(words: &Words, named: Option<Url>) -> Self {
        Self {
            pattern: words.url.and_then(|it| Regex::new(it).ok()),
            ready: words.ready,
            url: named,
            is_ready: words.ready.is_none(),
        }
    }

    /// The URL, once the tunnel takes connections.
    fn look_at(&mut self, line: &str) -> Option<Url> {
        let line = without_escapes(line);
        self.is_ready |= self.ready.is_some_and(|it| line.contains(it));
        if self.url.is_none()
            && let Some(pattern) = &self.pattern
        {
            self.url = pattern.captures_iter(&line).find_map(|found| {
                let found = found.get(1).or(found.get(0))?.as_str();
                usable(found)
            });
        }
        self.url.clone().filter(|_| self.is_ready)
    }
}

/// The URL, if it may be that of a tunnel: not the one of an interface that makes them.
fn usable(found: &str) -> Option<Url> {
    let with_scheme = match found.contains("://") {
        true => found.to_owned(),
        false => format!("http://{found}"),
    };
    let url = Url::parse(&with_scheme).ok()?;
    (url.host_str()? != "api.trycloudflare.com").then_some(url)
}

/// The text without the sequences that colour it on a terminal.
fn without_escapes(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
            character => text.push(character),
        }
    }
    text
}

/// Reads what a program writes, to its end: a full pipe would stop it. Lines go to `lines` as long as
/// somebody waits for them.
fn read(
    pipe: Option<impl AsyncRead + Send + Unpin + 'static>,
    lines: mpsc::Sender<String>,
    said: Arc<Mutex<VecDeque<String>>>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let Some(pipe) = pipe else {
            return;
        };
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = (&mut reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            let text = without_escapes(&String::from_utf8_lossy(&line));
            let text = text.trim().to_owned();
            line.clear();
            if text.is_empty() {
                continue;
            }
            tracing::info!(line = text, "tunnel");
            {
                let mut said = lock(&said);
                said.push_back(text.clone());
                if said.len() > MOST_LINES {
                    said.pop_front();
                }
            }
            // Nobody waits for the URL any more.
            let _ = lines.send(text).await;
        }
    }))
}

fn last(said: &Mutex<VecDeque<String>>) -> String {
    let said = lock(said);
    let lines: Vec<&str> = said.iter().map(String::as_str).collect();
    lines.join(" / ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Kind, wanted: &Wanted, lines: &str) -> Option<String> {
        let words = kind.words(wanted);
        let mut search = Search::new(&words, None);
        let url = lines.lines().find_map(|line| search.look_at(line));
        url.map(|it| it.to_string())
    }

    #[test]
    fn each_program_says_its_url_in_its_own_words() {
        let cloudflared = "2026-09-01T10:00:00Z INF Thank you for trying Cloudflare Tunnel. https://www.cloudflare.com/terms/\n\
            2026-09-01T10:00:00Z INF Requesting new quick Tunnel on https://api.trycloudflare.com\n\
            2026-09-01T10:00:01Z INF |  https://calm-red-fox.trycloudflare.com   |\n\
            2026-09-01T10:00:02Z INF Registered tunnel connection connIndex=0";
        let tailscale = "Available on the internet:\n\nhttps://machine.tail1234.ts.net/\n|-- proxy http://127.0.0.1:8000";
        let bore = "\u{1b}[2m2026-09-01\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m bore_cli::client: listening at bore.pub:40123";
        let lt = "▄▄▄ a code\nyour url is: https://calm-fox.loca.lt";
        for (kind, lines, url) in [
            (
                Kind::Cloudflared,
                cloudflared,
                "https://calm-red-fox.trycloudflare.com/",
            ),
            (
                Kind::Tailscale,
                tailscale,
                "https://machine.tail1234.ts.net/",
            ),
            (Kind::Bore, bore, "http://bore.pub:40123/"),
            (Kind::Localtunnel, lt, "https://calm-fox.loca.lt/"),
        ] {
            let found = found(kind, &Wanted::default(), lines);
            assert_eq!(found.as_deref(), Some(url), "{kind:?}");
        }
        // It has a URL before it takes connections.
        let early = cloudflared.lines().take(3).collect::<Vec<_>>().join("\n");
        assert_eq!(found(Kind::Cloudflared, &Wanted::default(), &early), None);
    }

    #[tokio::test]
    async fn a_named_tunnel_of_cloudflare_needs_its_name() {
        let wanted = Wanted {
            token: Some(Secret::from("t".to_owned())),
            ..Wanted::default()
        };
        let started = start(Kind::Cloudflared, &wanted, START_TIMEOUT).await;
        assert!(matches!(started, Err(Error::NoName)));
    }
}
