use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Authority, McpCli, Run, Server, http_server, tls_server};

/// A home folder that several runs share.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn run(&self, args: &[&str]) -> Run {
        McpCli::new(args).home(self.0.path()).run()
    }

    fn token(&self, args: &[&str]) -> String {
        let run = self.run(&[&["-q", "token"], args].concat());
        assert_eq!((run.exit, run.stderr.as_str()), (Some(0), ""));
        run.stdout.trim_end().to_owned()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_key_pair_is_made_on_first_use_and_is_nobody_elses() {
    let home = Home::new();
    let first = home.run(&["token"]);
    assert!(
        first
            .stderr
            .starts_with("note: made a key pair for development: "),
        "{first}"
    );
    assert_eq!(first.stdout.lines().count(), 1);
    let folder = home.0.path().join(".local/share/mcp-cli");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("dev-key.pem")), 0o600);
    assert_eq!(home.run(&["token"]).stderr, "", "the second use is silent");
}

#[test]
fn a_token_says_what_it_was_told_to_say() {
    let home = Home::new();
    let plain = home.token(&[]);
    let claims = |token: &str| -> Value {
        let run = home.run(&["token", "inspect", token]);
        serde_json::from_str(&run.stdout).unwrap()
    };
    let plain = claims(&plain);
    assert_eq!(plain["claims"]["sub"], "fastmcp-user");
    assert_eq!(plain["claims"]["iss"], "https://fastmcp.example.com");
    assert_eq!(plain["claims"].get("aud"), None);
    assert_eq!(plain["header"]["alg"], "RS256");
    let lifetime =
        plain["claims"]["exp"].as_i64().unwrap() - plain["claims"]["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 3600);

    let rich = claims(&home.token(&[
        "--audience",
        "a",
        "--audience",
        "b",
        "--issuer",
        "https://i.example",
        "--subject",
        "me",
        "--scopes",
        "x,y",
        "--expires-in",
        "5m",
        "--claim",
        "n=[1]",
        "--claim",
        "sub=\"you\"",
        "--kid",
        "k1",
        "--algorithm",
        "PS256",
    ]));
    assert_eq!(rich["header"]["kid"], "k1");
    assert_eq!(rich["header"]["alg"], "PS256");
    assert_eq!(rich["claims"]["aud"], serde_json::json!(["a", "b"]));
    assert_eq!(rich["claims"]["scope"], "x y");
    assert_eq!(rich["claims"]["n"], serde_json::json!([1]));
    assert_eq!(rich["claims"]["sub"], "you");
}

#[test]
fn verify_tells_why_a_token_is_refused() {
    let home = Home::new();
    let good = home.token(&["--audience", "dice-server"]);
    let run = home.run(&["token", "verify", &good]);
    assert_eq!(run.exit, Some(0), "{run}");
    assert!(
        run.stdout.starts_with("valid: for fastmcp-user, expires "),
        "{run}"
    );

    let other_key = TempDir::new().unwrap();
    let other_key = other_key.path().to_str().unwrap();
    for (args, words) in [
        (
            &["--audience", "other"][..],
            "the token's audience is not other",
        ),
        (
            &["--issuer", "https://else.example"],
            "the token's issuer is not https://else.example",
        ),
        (
            &["--required-scopes", "roll"],
            "the token lacks the scope roll",
        ),
        (
            &["--algorithm", "RS512"],
            "the token is not signed with RS512",
        ),
        (
            &["--key-dir", other_key],
            "the token was not signed with the key that is trusted here",
        ),
    ] {
        let run = home.run(&[&["token", "verify", &good], args].concat());
        assert_eq!(run.exit, Some(1), "{run}");
        assert!(run.stderr.contains(words), "{run}");
        assert!(!run.stderr.contains(&good), "the token was shown");
    }
}

#[test]
fn a_token_goes_into_a_file_that_is_not_overwritten() {
    let home = Home::new();
    let file = home.0.path().join("token.jwt");
    let path = file.to_str().unwrap();
    let run = home.run(&["-q", "token", "--out", path]);
    assert_eq!((run.exit, run.stdout.as_str()), (Some(0), ""), "{run}");
    assert_eq!(mode(&file), 0o600);

    let again = home.run(&["token", "--out", path]);
    assert_eq!(again.exit, Some(1));
    assert!(
        again.stderr.contains("exists already\nhint: pass --force"),
        "{again}"
    );
    assert_eq!(home.run(&["token", "--out", path, "--force"]).exit, Some(0));
}

#[test]
fn the_public_key_comes_as_pem_and_as_jwks() {
    let home = Home::new();
    let pem = home.run(&["-q", "token", "public-key"]);
    assert!(
        pem.stdout.starts_with("-----BEGIN PUBLIC KEY-----\n"),
        "{pem}"
    );
    assert!(pem.stdout.ends_with("-----END PUBLIC KEY-----\n"), "{pem}");
    assert!(!pem.stdout.contains("PRIVATE"));

    let jwks = home.run(&["token", "public-key", "--format", "jwks", "--kid", "k1"]);
    let jwks: Value = serde_json::from_str(&jwks.stdout).unwrap();
    assert_eq!(jwks["keys"][0]["kid"], "k1");
    assert_eq!(jwks["keys"][0].get("d"), None);

    let file = home.0.path().join("public.pem");
    std::fs::write(&file, pem.stdout).unwrap();
    let token = home.token(&["--audience", "dice-server"]);
    let verified = home.run(&[
        "token",
        "verify",
        &token,
        "--public-key",
        file.to_str().unwrap(),
    ]);
    assert_eq!(verified.exit, Some(0), "{verified}");
}

#[test]
fn no_umask_makes_a_key_or_a_token_anybody_elses() {
    for umask in ["000", "077", "777"] {
        let home = Home::new();
        let script = r#"umask "$1"; exec "$2" -q token --key-dir "$3/keys" --out "$3/token.jwt""#;
        let run = Command::new("sh")
            .args(["-c", script, "sh", umask, env!("CARGO_BIN_EXE_mcp-cli")])
            .arg(home.0.path())
            .env_clear()
            .status();
        assert!(run.unwrap().success(), "{umask}");
        assert_eq!(mode(&home.0.path().join("keys")), 0o700, "{umask}");
        assert_eq!(
            mode(&home.0.path().join("keys/dev-key.pem")),
            0o600,
            "{umask}"
        );
        assert_eq!(mode(&home.0.path().join("token.jwt")), 0o600, "{umask}");
    }
}

#[test]
fn a_lifetime_that_is_none_is_a_mistake_and_a_scope_with_a_space_is_two() {
    let home = Home::new();
    for expires_in in [
        "-1",
        "-1s",
        "",
        "99999999999999999999s",
        "18446744073709551615s",
    ] {
        let run = home.run(&["token", &format!("--expires-in={expires_in}")]);
        assert!(matches!(run.exit, Some(1 | 2)), "{run}");
        assert!(run.stderr.contains("error: "), "{run}");
    }
    let good = home.token(&["--audience", "dice-server", "--scopes", "a b,c"]);
    let verify = |scopes| home.run(&["token", "verify", &good, "--required-scopes", scopes]);
    assert_eq!(verify("a,b,c").exit, Some(0));
    assert_eq!(verify("a b").exit, Some(1));
}

#[test]
fn keygen_replaces_a_key_pair_only_when_told_to() {
    let home = Home::new();
    assert_eq!(home.run(&["token", "keygen"]).exit, Some(0));
    let before = home.run(&["token", "public-key"]).stdout;
    assert_eq!(home.run(&["token", "keygen"]).exit, Some(1));
    assert_eq!(home.run(&["token", "public-key"]).stdout, before);
    assert_eq!(
        home.run(&["token", "keygen", "--force", "--bits", "3072"])
            .exit,
        Some(0)
    );
    assert_ne!(home.run(&["token", "public-key"]).stdout, before);
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let home = Home::new();
    home.token(&[]);
    let key = home.0.path().join(".local/share/mcp-cli/dev-key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = home.run(&["token"]);
    assert_eq!(run.exit, Some(1));
    assert!(run.stderr.contains("run `chmod 600 "), "{run}");
}

/// The key set of a home, written to a file and served at a URL.
fn published(home: &Home) -> (String, Server) {
    let jwks = home.run(&[
        "-q",
        "token",
        "public-key",
        "--format",
        "jwks",
        "--kid",
        "k1",
    ]);
    let file = home.0.path().join("jwks.json");
    std::fs::write(&file, &jwks.stdout).unwrap();
    let router = Router::new()
        .route("/jwks.json", get(async || jwks.stdout))
        .route(
            "/page",
            get(async || "<!doctype html><title>Sign in</title>"),
        )
        .route("/moved", get(async || Redirect::permanent("/jwks.json")));
    (file.to_str().unwrap().to_owned(), http_server(router))
}

#[test]
fn a_token_is_verified_with_a_key_set_from_a_file_or_a_url() {
    let home = Home::new();
    let (file, server) = published(&home);
    let token = home.token(&["--audience", "dice-server", "--kid", "k1"]);
    let other = home.token(&["--audience", "dice-server", "--kid", "k2"]);
    let unnamed = home.token(&["--audience", "dice-server"]);

    for place in [file, format!("{}/jwks.json", server.url)] {
        let verify = |token: &str| home.run(&["token", "verify", token, "--jwks", &place]);
        assert_eq!(verify(&token).exit, Some(0), "{place}");
        assert_eq!(verify(&unnamed).exit, Some(0), "{place}");
        let run = verify(&other);
        assert_eq!(run.exit, Some(1), "{run}");
        let told =
            "error: the token names a key that is not known here\ncause: the token says: alg ";
        assert!(run.stderr.starts_with(told), "{run}");
    }
}

#[test]
fn a_key_set_over_tls_comes_from_whom_the_certificate_names() {
    let home = Home::new();
    let token = home.token(&["--audience", "dice-server", "--kid", "k1"]);
    let jwks = home
        .run(&["token", "public-key", "--format", "jwks", "--kid", "k1"])
        .stdout;
    let authority = Authority::new();
    let roots = home.0.path().join("roots.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    let until = time::OffsetDateTime::now_utc() + time::Duration::days(1);
    for (host, exit) in [("localhost", 0), ("other.example", 4)] {
        let head = "200 OK\r\ncontent-type: application/jwk-set+json";
        let port = tls_server(authority.issue(host, until), head, &jwks);
        let url = format!("https://localhost:{port}/");
        let run = McpCli::new(&["token", "verify", &token, "--jwks", &url])
            .home(home.0.path())
            .env("SSL_CERT_FILE", roots.to_str().unwrap())
            .run();
        assert_eq!(run.exit, Some(exit), "{host}: {run}");
    }
}

#[test]
fn a_key_set_that_cannot_be_had_says_why_and_ends_like_any_other_answer() {
    let home = Home::new();
    let (file, server) = published(&home);
    let token = home.token(&["--audience", "dice-server", "--kid", "k1"]);
    let at = |path: &str| format!("{}{path}", server.url);
    for (place, exit, words) in [
        (at("/page"), 5, "it is not a JSON Web Key Set"),
        (at("/moved"), 5, "redirects are not followed"),
        (at("/nothing"), 5, "the server answered with HTTP 404"),
        (
            "http://127.0.0.1:1/".to_owned(),
            4,
            "the server could not be reached",
        ),
        ("http://user:canary@a.example/".to_owned(), 2, "over https"),
        (
            "http://user:canary@127.0.0.1:1/?canary".to_owned(),
            4,
            "http://127.0.0.1:1/ cannot be used",
        ),
        (format!("{file}.pem"), 1, "cannot be read"),
    ] {
        let run = home.run(&["token", "verify", &token, "--jwks", &place]);
        assert_eq!(run.exit, Some(exit), "{run}");
        assert!(run.stderr.contains(words), "{run}");
        assert!(!run.stderr.contains("canary"), "{run}");
    }
}

#[test]
fn an_algorithm_that_does_not_fit_the_key_is_a_mistake_of_whoever_typed_it() {
    let home = Home::new();
    let (jwks, _server) = published(&home);
    let token = home.token(&[]);
    let key = home.0.path().join("ed25519.pem");
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEARCOksQyGh0EOotmeyjA4XhMGjMWqaGbIIyJlOPKoHas=\n-----END PUBLIC KEY-----\n";
    std::fs::write(&key, pem).unwrap();
    let key = key.to_str().unwrap();

    let run = home.run(&[
        "token",
        "verify",
        &token,
        "--public-key",
        key,
        "--algorithm",
        "RS256",
    ]);
    insta::assert_snapshot!(run, @r"
    exit: 2
    ----- stdout -----
    ----- stderr -----
    error: an Ed25519 key cannot be used with RS256: use EdDSA
    hint: omit --algorithm to use that of the key
    ");
    let run = home.run(&["token", "verify", &token, "--public-key", key]);
    assert_eq!(run.exit, Some(1), "{run}");
    let told =
        "error: the token is not signed with EdDSA\ncause: the token says: alg \"RS256\", iss ";
    assert!(run.stderr.starts_with(told), "{run}");
    for args in [
        &["token", "--algorithm", "ES256"][..],
        &["token", "verify", &token, "--algorithm", "EdDSA"],
        &[
            "token",
            "verify",
            &token,
            "--jwks",
            &jwks,
            "--algorithm",
            "ES384",
        ],
    ] {
        let run = home.run(args);
        assert_eq!(run.exit, Some(2), "{run}");
        assert!(
            run.stderr.contains("an RSA key cannot be used with "),
            "{run}"
        );
    }
}

#[test]
fn one_source_of_keys_is_named() {
    let home = Home::new();
    let run = home.run(&["token", "verify", "x", "--jwks", "a", "--public-key", "b"]);
    assert_eq!(run.exit, Some(2), "{run}");

    // The folder of the environment is for when nothing else is named.
    let args = ["token", "verify", "x", "--jwks", "a"];
    let run = McpCli::new(&args).env("MCP_CLI_KEY_DIR", "keys").run();
    assert!(run.stderr.contains("a cannot be read"), "{run}");
}

#[test]
fn a_time_beyond_the_year_9999_is_told_by_its_distance() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let token = |expires: &str| {
        let claims = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{expires}}}"));
        format!(
            "{}.{claims}.AAAA",
            URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\"}")
        )
    };
    for (expires, told) in [
        ("1e15", "note: expires in "),
        ("253402300800", "note: expires in "),
        ("253402300799", "note: expires 9999-12-31T23:59:59Z (in "),
        ("1", "note: expires 1970-01-01T00:00:01Z ("),
    ] {
        let run = Home::new().run(&["token", "inspect", &token(expires)]);
        assert_eq!(run.exit, Some(0), "{expires}: {run}");
        assert!(run.stderr.contains(told), "{expires}: {run}");
    }
}
