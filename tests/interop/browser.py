#!/usr/bin/env python3
"""A page in a real browser calls a server on loopback. Usage: browser.py PATH_OF_MCP_CLI

The page comes from another port, as that of a debugging tool does, so the browser asks the server first (CORS).
"""

import contextlib
import http.server
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading

MCP_CLI = os.path.abspath(sys.argv[1])
CHROMIUM = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]

# Opens a session where there is one, and calls the tool; what it saw goes to /result.
PAGE = """<!doctype html><script type="module">
const url = new URLSearchParams(location.search).get("server");
const send = async (message, headers) => {
  const answer = await fetch(url, {
    method: "POST",
    headers: {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", ...headers},
    body: JSON.stringify({jsonrpc: "2.0", ...message}),
  });
  const text = await answer.text();
  const body = text.match(/^(?:data: )?({.*)$/m);
  return {session: answer.headers.get("Mcp-Session-Id"), body: body && JSON.parse(body[1])};
};
let seen;
try {
  const clientInfo = {name: "page", version: "1"};
  const opened = await send({id: 1, method: "initialize",
    params: {protocolVersion: "2025-11-25", capabilities: {}, clientInfo}});
  const headers = {"MCP-Protocol-Version": "2025-11-25"};
  if (opened.session) headers["Mcp-Session-Id"] = opened.session;
  await send({method: "notifications/initialized"}, headers);
  const called = await send({id: 2, method: "tools/call", params: {name: "roll_dice", arguments: {n_dice: 3}}}, headers);
  seen = {session: opened.session, rolled: called.body.result.structuredContent.result};
} catch (error) {
  seen = {error: String(error)};
}
await fetch("/result", {method: "POST", body: JSON.stringify(seen)});
</script>"""


class Pages(http.server.BaseHTTPRequestHandler):
    results = queue.Queue()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def do_POST(self):
        self.results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def dice(*options):
    server = subprocess.Popen([MCP_CLI, "serve", "-p", "0", *options], stderr=subprocess.PIPE, text=True)
    try:
        port = next(found[1] for line in server.stderr if (found := re.search(r"http://[^ ]*:(\d+)/mcp", line)))
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.terminate()
        server.wait()


def seen_by_page(page, server):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [*CHROMIUM, f"--user-data-dir={profile}", f"{page}?server={server}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            return Pages.results.get(timeout=120)
        finally:
            browser.terminate()
            browser.wait()


def main():
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    page = f"http://127.0.0.1:{pages.server_port}/"
    runs = [
        ([], lambda seen: len(seen["rolled"]) == 3 and not seen["session"]),
        (["--sessions"], lambda seen: len(seen["rolled"]) == 3 and seen["session"]),
        # A server for other machines takes no page of this one.
        (["--host", "0.0.0.0"], lambda seen: "Failed to fetch" in seen["error"]),
    ]
    passed = []
    for options, is_right in runs:
        with dice(*options) as server:
            seen = seen_by_page(page, server)
        passed.append(bool(is_right({"rolled": [], "session": None, "error": "", **seen})))
        print(f"browser, serve {' '.join(options)}: {'ok' if passed[-1] else f'FAILED: {seen}'}", flush=True)
    return not all(passed)


if __name__ == "__main__":
    sys.exit(main())
