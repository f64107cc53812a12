#!/usr/bin/env python3
"""A server behind a real bore tunnel on loopback. Usage: tunnel.py PATH_OF_MCP_CLI FOLDER_OF_BORE

The server over stdio is the dice server; it is asked through the tunnel's address, also after the tunnel was killed.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

MCP_CLI = os.path.abspath(sys.argv[1])
PATH = os.path.abspath(sys.argv[2]) + ":" + os.environ["PATH"]


def ask(url, token):
    return subprocess.run(
        [MCP_CLI, "ask", "-q", "--local", "--require-approval", "never", "--server-url", url, "Roll 2 dice"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "MCP_AUTHORIZATION": token},
    )


def check(condition, what):
    print(f"tunnel, {what}: {'ok' if condition else 'FAILED'}", flush=True)
    if not condition:
        raise SystemExit(1)


def main():
    home = tempfile.TemporaryDirectory()
    environment = {**os.environ, "PATH": PATH, "HOME": home.name}
    bore = subprocess.Popen(
        ["bore", "server", "--bind-addr", "127.0.0.1", "--min-port", "47110", "--max-port", "47119"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    time.sleep(1)
    serve = subprocess.Popen(
        [MCP_CLI, "serve", "-p", "0", "--auth", "--tunnel", "bore", "--tunnel-domain", "127.0.0.1",
         "--", MCP_CLI, "serve", "-t", "stdio"],
        env=environment, stderr=subprocess.PIPE, text=True,
    )
    try:
        lines = []

        def until(pattern):
            for line in serve.stderr:
                lines.append(line)
                if found := re.search(pattern, line):
                    return found
            raise SystemExit("".join(lines))

        token = subprocess.run(
            [MCP_CLI, "token", "-q", "--audience", "dice-server"], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()
        url = until(r"public address: (\S+)")[1]
        until("check: OpenAI would list 1 tool")
        check(ask(url, token).stdout.startswith("You rolled 2 dice"), "a server over stdio is asked through bore")
        check("401" in ask(url, "none").stderr, "without a token it is refused")
        [client] = subprocess.run(
            ["pgrep", "-P", str(serve.pid), "-x", "bore"], capture_output=True, text=True, check=True
        ).stdout.split()
        os.kill(int(client), 9)
        url = until(r"public address: (\S+)")[1]
        check(ask(url, token).stdout.startswith("You rolled 2 dice"), "it is reached again after the tunnel was killed")
    finally:
        serve.terminate()
        serve.wait()
        bore.terminate()
        bore.wait()


if __name__ == "__main__":
    main()
