use crate::support::McpCli;

/// What a user gets wrong: exit status 2 or 3, one `error:` line, and no secret in it.
#[test]
fn bad_input_is_named_with_its_exit_status_and_without_its_secrets() {
    for (args, exit, words) in [
        (&["ask", "Hello"][..], 3, "OPENAI_API_KEY is not set"),
        (&["ask", "--local"], 2, "no question was given"),
        (
            &["ask", "--locale", "Hello"],
            2,
            "unexpected argument '--locale'",
        ),
        (
            &["ask", "--local", "-m", "gpt-5", "Hello"],
            2,
            "unknown local model: \"gpt-5\"",
        ),
        (
            &["ask", "-m", "rules", "Hello"],
            2,
            "--model rules is a local model",
        ),
        (
            &["ask", "--local", "-m", "script:/nowhere", "Hello"],
            2,
            "/nowhere cannot be read",
        ),
        (
            &["ask", "--local", "-m", "script:/dev/zero", "Hello"],
            2,
            "/dev/zero is larger than 4194304 bytes",
        ),
        (
            &["ask", "--local", "--mcp-config", "/dev/zero", "Hello"],
            2,
            "/dev/zero is larger than 1048576 bytes",
        ),
        (
            &["gateway", "--no-auth", "-m", "script:/dev/zero"],
            2,
            "/dev/zero is larger than 4194304 bytes",
        ),
        (
            &["serve", "--auth", "--jwks", "/dev/zero"],
            1,
            "/dev/zero is larger than 65536 bytes",
        ),
        (
            &["gateway", "--no-auth", "--store", "/dev/zero"],
            1,
            "/dev/zero cannot be used as a store",
        ),
        (
            &["ask", "--local", "--tunnel-id", "t", "Hello"],
            2,
            "a tunnel cannot be used from this machine",
        ),
        (
            &["ask", "--connector-id", "gmail", "Hello", "--api-key", "k"],
            2,
            "unknown connector: \"gmail\"",
        ),
        (
            &["ask", "--local", "--server-url", "nonsense", "Hello"],
            2,
            "--server-url is not an http or https URL",
        ),
        (
            &["ask", "--local", "--server-label", "a b", "Hello"],
            2,
            "a label is a letter",
        ),
        (
            &["ask", "--local", "--authorization", "@/nowhere", "Hello"],
            2,
            "/nowhere cannot be read",
        ),
        (
            &["ask", "--local", "--authorization", "@/", "Hello"],
            2,
            "/ cannot be read",
        ),
        (
            &["ask", "--local", "--authorization", "@/dev/zero", "Hello"],
            2,
            "/dev/zero is larger than 65536 bytes",
        ),
        (
            &["ask", "--local", "--authorization", "can\nary", "Hello"],
            2,
            "characters that are not allowed in an HTTP header",
        ),
        (
            &["ask", "--local", "--authorization", "", "Hello"],
            2,
            "--authorization is empty",
        ),
        (
            &["ask", "--local", "-H", "canary", "Hello"],
            2,
            "a header is `Name: value`",
        ),
        (
            &["ask", "--local", "-H", "X: can\r\nary", "Hello"],
            2,
            "characters that no header can carry",
        ),
        (
            &["ask", "--local", "-H", "Host: canary", "Hello"],
            2,
            "the header host is set by the client itself",
        ),
        (
            &["ask", "--local", "--require-approval", "maybe", "Hello"],
            2,
            "use always, never, or JSON",
        ),
        (
            &["ask", "--local", "--timeout", "soon", "Hello"],
            2,
            "--timeout",
        ),
        (
            &["serve", "--print-token"],
            2,
            "--print-token has no meaning without --auth",
        ),
        (
            &["serve", "--required-scopes", "roll"],
            2,
            "--required-scopes has no meaning without --auth",
        ),
        (
            &[
                "ask",
                "--local",
                "--server-url",
                "localhost:8000/canary",
                "Hello",
            ],
            2,
            "--server-url is not an http or https URL",
        ),
        (
            &[
                "ask",
                "--api-key",
                "k",
                "--base-url",
                "ftp://user:canary@a/",
                "Hello",
            ],
            2,
            "--base-url is not an http or https URL",
        ),
        (
            &[
                "ask",
                "--local",
                "--authorization",
                "canary",
                "-H",
                "authorization: canary",
                "--server-url",
                "http://127.0.0.1:1/",
                "Hello",
            ],
            2,
            "both --authorization and an Authorization header are given",
        ),
        (
            &[
                "ask",
                "--local",
                "--previous-response-id",
                "resp_1",
                "Hello",
            ],
            2,
            "this machine stores none",
        ),
        (
            &["serve", "-t", "stdio", "--auth"],
            2,
            "--auth has no meaning with -t stdio",
        ),
        (&["serve", "--path", "mcp"], 2, "a path begins with `/`"),
        (
            &["serve", "--host", "no.such.host.invalid"],
            1,
            "is not an address of this machine",
        ),
        (
            &["serve", "--auth", "--public-key", "/nowhere"],
            1,
            "/nowhere cannot be read",
        ),
        (&["token", "verify", "canary"], 1, "three base64url parts"),
        (&["token", "inspect", "canary"], 1, "this is not a JWT"),
        (&["token", "--claim", "a"], 2, "use key=json"),
        (&["token", "--claim", "a=text"], 2, "is not JSON"),
        (&["token", "--algorithm", "HS256"], 2, "unknown algorithm"),
        (&["token", "--expires-in", "4000years"], 1, "ten years"),
        (
            &["token", "--key", "/nowhere"],
            1,
            "/nowhere cannot be read",
        ),
        (&["token", "keygen", "--bits", "512"], 2, "unknown key size"),
        (&[], 2, "Usage: mcp-cli"),
    ] {
        let run = McpCli::new(args).run();
        assert_eq!(run.exit, Some(exit), "{args:?}: {run}");
        assert!(
            run.stderr.contains(words),
            "{args:?}: {words:?} is not in {run}"
        );
        assert_eq!(run.stdout, "", "{args:?}");
        assert!(!run.stderr.contains("panicked"), "{args:?}: {run}");
        let is_ours = run.stderr.contains("error: ") || args.is_empty();
        assert!(is_ours, "{args:?}: {run}");
        let shows_secret =
            args.iter().any(|arg| arg.contains("canary")) && run.stderr.contains("canary");
        assert!(!shows_secret, "{args:?}: {run}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for args in [
        &["--help"][..],
        &["ask", "--help"],
        &["serve", "--help"],
        &["token", "--help"],
        &["token", "verify", "--help"],
        &["--version"],
    ] {
        let run = McpCli::new(args)
            .env("OPENAI_API_KEY", "canary")
            .env("MCP_AUTHORIZATION", "canary")
            .run();
        assert_eq!(run.exit, Some(0), "{args:?}: {run}");
        assert_eq!(run.stderr, "");
        assert!(!run.stdout.contains("canary"), "{args:?}: {run}");
    }
}
