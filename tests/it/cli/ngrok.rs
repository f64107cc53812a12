//! `serve --tunnel ngrok` against ngrok's protocol on loopback.

use std::io::{BufRead, BufReader};
use std::process::Child;

use tempfile::TempDir;

use crate::support::McpCli;
use crate::support::ngrok::{Ngrok, TAKEN, TOKEN, Trouble};

/// `serve --tunnel ngrok` as an agent of `ngrok`.
struct Agent {
    mcp_cli: McpCli,
    _folder: TempDir,
}

impl Agent {
    fn of(ngrok: &Ngrok, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, &ngrok.pem).unwrap();
        let arguments = [&["serve", "-p", "0", "--tunnel", "ngrok"], flags].concat();
        let mcp_cli = McpCli::new(&arguments)
            .env("NGROK_AUTHTOKEN", TOKEN)
            .env("NGROK_SERVER_ADDR", &ngrok.address)
            .env("NGROK_CA_FILE", ca.to_str().unwrap());
        Self {
            mcp_cli,
            _folder: folder,
        }
    }
}

/// Reads on until a line has that part.
fn lines(child: &mut Child) -> impl FnMut(&str) -> String + use<> {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    move |part| lines.find(|it| it.contains(part)).expect(part)
}

fn end(mut child: Child) {
    let id = child.id().to_string();
    std::process::Command::new("kill").arg(id).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn tools(url: &str) -> bool {
    let run = McpCli::new(&["tools", "list", url]).run();
    run.exit == Some(0) && run.stdout.contains("roll_dice")
}

#[test]
fn visitors_of_the_public_url_reach_the_server() {
    let ngrok = Ngrok::start();
    let flags = ["--auth", "--tunnel-domain", "https://mine.ngrok.app/"];
    let agent = Agent::of(&ngrok, &flags);
    let (mut child, _home) = agent.mcp_cli.spawn();
    let mut until = lines(&mut child);
    let url = format!("{}/mcp", ngrok.public);
    until(&format!("public address: {url}"));
    until("--server-label dice_server --authorization @");
    until("check: OpenAI would list 1 tool at");

    let login = &ngrok.logins()[0]["Extra"];
    let agent = login["UserAgent"].as_str().unwrap();
    assert!(agent.starts_with("mcp-cli/"), "{login}");
    let bind = &ngrok.binds()[0];
    assert_eq!(bind["Opts"]["Domain"], "mine.ngrok.app");
    // Neither the path of the program nor the name of the machine.
    assert_eq!(bind["ForwardsTo"], "mcp-cli");

    let refused = McpCli::new(&["tools", "list", &url]).run();
    assert_eq!(refused.exit, Some(6), "{refused}");
    assert!(refused.stderr.contains("401"), "{refused}");
    end(child);
}

#[test]
fn a_connection_that_is_cut_and_a_tunnel_that_is_stopped_come_back() {
    let ngrok = Ngrok::start();
    let agent = Agent::of(&ngrok, &["--no-auth"]);
    let (mut child, _home) = agent.mcp_cli.spawn();
    let mut until = lines(&mut child);
    let url = format!("{}/mcp", ngrok.public);
    until("public address: ");
    assert!(tools(&url));

    ngrok.make(Trouble::Stop);
    until("the tunnel of ngrok ended: stopped by the owner (ERR_NGROK_3204)");
    until("public address: ");
    assert!(tools(&url), "after a stop");
    // ngrok counts agents: the one of before must be gone.
    let began = std::time::Instant::now();
    while ngrok.sessions() > 1 {
        assert!(began.elapsed().as_secs() < 20, "{}", ngrok.sessions());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    ngrok.make(Trouble::Cut);
    assert!(tools(&url), "after a cut");
    // With the id that it had, so that the URL is the same.
    assert_eq!(ngrok.binds().last().unwrap()["Id"], "tunnel1");
    end(child);
}

#[test]
fn what_ngrok_refuses_is_told_with_what_to_do() {
    let ngrok = Ngrok::start();
    for (token, domain, exit, reason, hint) in [
        ("", "", 2, "no authtoken", "set NGROK_AUTHTOKEN"),
        ("revoked", "", 3, "ERR_NGROK_107", "copy the authtoken"),
        (TOKEN, TAKEN, 3, "ERR_NGROK_320", "omit --tunnel-domain"),
    ] {
        let flags: &[&str] = match domain {
            "" => &["--auth"],
            domain => &["--auth", "--tunnel-domain", domain],
        };
        let agent = Agent::of(&ngrok, flags);
        let run = agent.mcp_cli.env("NGROK_AUTHTOKEN", token).run();
        assert_eq!(run.exit, Some(exit), "{run}");
        assert!(run.stderr.contains(reason), "{run}");
        assert!(run.stderr.contains(hint), "{run}");
        assert!(token.is_empty() || !run.stderr.contains(token), "{run}");
    }
}

#[test]
fn a_service_that_is_not_there_or_not_ngrok_is_unreachable() {
    let ngrok = Ngrok::start();
    let stranger = Ngrok::start();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    for (server, exit, reason) in [
        (&*stranger.address, 4, "certificate"),
        (&closed, 4, "refused"),
        ("not an address", 2, "HOST:PORT"),
    ] {
        let agent = Agent::of(&ngrok, &["--auth"]);
        let run = agent.mcp_cli.env("NGROK_SERVER_ADDR", server).run();
        assert_eq!(run.exit, Some(exit), "{run}");
        assert!(run.stderr.contains(reason), "{run}");
    }
    assert!(stranger.logins().is_empty());
}
