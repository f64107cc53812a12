"""mcp-cli and its peers, each against the other, over real connections. Usage: interop.py PATH_OF_MCP_CLI NODE_FOLDER

NODE_FOLDER has the packages openai and @modelcontextprotocol/sdk of npm in its node_modules, and a node.

Every function that begins with `test_` is a case; the last line counts them.
"""

import asyncio
import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import httpx2
from fastmcp import Client
from fastmcp.client.auth import BearerAuth
from fastmcp.client.transports import StdioTransport
from fastmcp.server.auth.providers.jwt import RSAKeyPair
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy import tls_proxy

MCP_CLI = os.path.abspath(sys.argv[1])
NODE_FOLDER = pathlib.Path(sys.argv[2])
HERE = pathlib.Path(__file__).parent
HOME = tempfile.TemporaryDirectory()
ENVIRONMENT = {"HOME": HOME.name, "PATH": os.environ["PATH"]}
UNAUTHORIZED = (
    "error: Error code: 424 - Error retrieving tool list from MCP server: 'dice_server'. "
    "Http status code: 401 (Unauthorized)\n"
)


def run(*args, status=0, **environment):
    ended = subprocess.run(
        [MCP_CLI, *args], env=ENVIRONMENT | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == status, f"exit {ended.returncode}, not {status}: {ended.stdout}{ended.stderr}"
    return ended


def ask(url, *args, status=0, **environment):
    return run(
        "ask", "--local", "--server-url", url, "--server-label", "dice_server", "--require-approval", "never",
        *args, status=status, **environment,
    )


def token(*args):
    return run("-q", "token", *args).stdout.strip()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def started(interpreter, script, *args):
    """The URL of the MCP server that this script is. It is told its port, and then the rest."""
    port = free_port()
    command = [interpreter, script, str(port), *args]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert server.poll() is None and time.monotonic() < deadline, f"{script} did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def fastmcp_server(public_key=None, program="dice.py"):
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as key:
        if public_key:
            key.write(public_key)
            key.flush()
        with started(sys.executable, HERE / program, *([key.name] if public_key else [])) as url:
            yield url


@contextlib.contextmanager
def our_server(*args):
    server = subprocess.Popen(
        [MCP_CLI, "serve", "-p", "0", *args], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    try:
        for line in server.stderr:
            if line.startswith("listening on "):
                break
        yield line.removeprefix("listening on ").strip()
    finally:
        server.terminate()
        assert server.wait() == 0, "serve did not end well"


def assert_rolled(stdout, n_dice):
    pattern = rf"You rolled {n_dice} dice and got the following results: ([1-6], ){{{n_dice - 1}}}and [1-6]!\n"
    assert re.fullmatch(pattern, stdout), stdout


def test_ask_calls_fastmcps_server():
    with fastmcp_server() as url:
        assert_rolled(ask(url, "Roll a few dice!").stdout, 3)
        assert_rolled(ask(url + "/", "Roll 5 dice").stdout, 5)


def test_a_script_calls_fastmcps_tool_with_any_arguments():
    with fastmcp_server() as url, tempfile.NamedTemporaryFile("w", suffix=".json") as script:
        call = {"name": "roll_dice", "arguments": {"n_dice": "many"}}
        json.dump([{"calls": [call]}, {"say": "So be it."}], script)
        script.flush()
        ended = ask(url, "-m", f"script:{script.name}", "Go", "--json")
        response = json.loads(ended.stdout)
        failed = response["output"][1]
        assert failed["error"]["type"] == "mcp_tool_execution_error", failed
        assert "valid integer" in failed["error"]["content"][0]["text"], failed


def test_fastmcps_verifier_takes_our_token_and_no_other():
    public_key = run("-q", "token", "public-key").stdout
    with fastmcp_server(public_key) as url:
        refused = ask(url, "Roll 5 dice", status=6)
        assert UNAUTHORIZED in refused.stderr, refused.stderr
        good = token("--audience", "dice-server", "--scopes", "a,b", "--kid", "k")
        assert_rolled(ask(url, "--authorization", good, "Roll 5 dice").stdout, 5)
        assert_rolled(ask(url, "-H", f"Authorization: Bearer {good}", "Roll 5 dice").stdout, 5)
        for bad in [token("--audience", "other"), token("--audience", "dice-server", "--expires-in", "0s"), good + "x"]:
            refused = ask(url, "--authorization", bad, "Roll 5 dice", status=6)
            assert UNAUTHORIZED in refused.stderr, refused.stderr
            assert bad not in refused.stderr


def test_our_verifier_takes_fastmcps_token_and_no_other():
    pair = RSAKeyPair.generate()
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as key:
        key.write(pair.public_key)
        key.flush()
        good = pair.create_token(audience="dice-server", scopes=["dice:roll"])
        verified = run("token", "verify", "--public-key", key.name, "--issuer", "https://fastmcp.example.com", good)
        assert verified.stdout.startswith("valid: for fastmcp-user"), verified.stdout
        with our_server("--auth", "--public-key", key.name, "--required-scopes", "dice:roll") as url:
            assert_rolled(ask(url, "--authorization", good, "Roll 5 dice").stdout, 5)
            without_scope = pair.create_token(audience="dice-server")
            refused = ask(url, "--authorization", without_scope, "Roll 5 dice", status=6)
            assert "Http status code: 403 (Forbidden)" in refused.stderr, refused.stderr
            for bad in [pair.create_token(), RSAKeyPair.generate().create_token(audience="dice-server")]:
                refused = ask(url, "--authorization", bad, "Roll 5 dice", status=6)
                assert UNAUTHORIZED in refused.stderr, refused.stderr


async def call_with_fastmcp(transport, **options):
    async with Client(transport, **options) as client:
        [tool] = await client.list_tools()
        assert tool.name == "roll_dice" and tool.title == "Roll Dice", tool
        assert tool.description == "Roll `n_dice` 6-sided dice and return the results.", tool
        result = await client.call_tool("roll_dice", {"n_dice": 7})
        dice = result.structured_content["result"]
        assert len(dice) == 7 and all(1 <= die <= 6 for die in dice), dice
        assert json.loads(result.content[0].text) == dice, result
        for n_dice in [0, 10_001, 10**12, "3"]:
            refused = await client.call_tool("roll_dice", {"n_dice": n_dice}, raise_on_error=False)
            assert refused.is_error and "from 1 to 10000" in refused.content[0].text, refused


def test_fastmcps_client_calls_our_server():
    for options in [[], ["--sessions"], ["--path", "/"]]:
        with our_server(*options) as url:
            asyncio.run(call_with_fastmcp(url))


def test_fastmcps_client_calls_our_server_with_a_token_only():
    with our_server("--auth") as url:
        asyncio.run(call_with_fastmcp(url, auth=BearerAuth(token("--audience", "dice-server"))))
        for nothing in [None, BearerAuth("nonsense")]:
            try:
                asyncio.run(call_with_fastmcp(url, auth=nothing))
            except MCPError:
                continue
            raise AssertionError("the server was open")


def test_fastmcps_client_calls_our_server_over_stdio():
    asyncio.run(call_with_fastmcp(StdioTransport(MCP_CLI, ["serve", "-t", "stdio"])))


# What opens a session of the Python SDK: the handshake up to MCP 2025-11-25, and its successor.
OPENINGS = [ClientSession.initialize, ClientSession.discover]


async def call_with_mcp(streams, opening, n_calls=1):
    """The Python SDK's own session rolls dice, and is refused what is wrong."""
    async with streams as (read, write), ClientSession(read, write) as session:
        await opening(session)
        [tool] = (await session.list_tools()).tools
        assert tool.name == "roll_dice", tool
        for _ in range(n_calls):
            result = await session.call_tool("roll_dice", {"n_dice": 3})
            dice = result.structured_content["result"]
            assert len(dice) == 3 and all(1 <= die <= 6 for die in dice), dice
            assert json.loads(result.content[0].text) == dice, result
        refused = await session.call_tool("roll_dice", {"n_dice": "x"})
        assert refused.is_error and "from 1 to 10000" in refused.content[0].text, refused
        try:
            await session.call_tool("roll_cards", {})
        except MCPError as error:
            assert "Unknown tool: roll_cards" in str(error), error
        else:
            raise AssertionError("there is a tool roll_cards")


async def call_with_mcp_over_http(url, opening, met, bearer=None, authority=None, n_calls=1):
    """What `call_with_mcp` does; `met` gets the status and the content type of each response."""

    async def note(response):
        met.append((response.status_code, response.headers.get("content-type")))

    client = httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {bearer}"} if bearer else {},
        verify=ssl.create_default_context(cafile=authority),
        event_hooks={"response": [note]},
        timeout=10,
    )
    async with client:
        await call_with_mcp(streamable_http_client(url, http_client=client), opening, n_calls)


def test_mcps_client_calls_our_server():
    for options in [[], ["--sessions"]]:
        with our_server(*options) as url:
            for opening in OPENINGS:
                met = []
                asyncio.run(call_with_mcp_over_http(url, opening, met))
                # Sessions stream their answers, and MCP 2026-07-28 has no sessions.
                is_streamed = (200, "text/event-stream") in met
                assert is_streamed == (bool(options) and opening is ClientSession.initialize), met


def test_mcps_client_calls_our_server_with_a_token_only():
    with our_server("--auth") as url:
        good = token("--audience", "dice-server")
        for opening in OPENINGS:
            asyncio.run(call_with_mcp_over_http(url, opening, [], good))
            for nothing in [None, "nonsense"]:
                met = []
                try:
                    asyncio.run(call_with_mcp_over_http(url, opening, met, nothing))
                except (MCPError, BaseExceptionGroup):
                    assert {status for status, _ in met} == {401}, met
                else:
                    raise AssertionError("the server was open")


def test_mcps_client_calls_our_server_over_stdio():
    server = StdioServerParameters(command=MCP_CLI, args=["serve", "-t", "stdio"])
    for opening in OPENINGS:
        asyncio.run(call_with_mcp(stdio_client(server), opening))


def call_with_typescript(*server):
    script = shutil.copy(HERE / "client.mjs", NODE_FOLDER)
    return subprocess.run(
        [NODE_FOLDER / "node_modules/.bin/node", script, *server],
        env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )


def test_typescripts_client_calls_our_server():
    for options in [[], ["--sessions"]]:
        with our_server(*options) as url:
            ended = call_with_typescript(url)
            assert ended.returncode == 0, ended.stderr


def test_typescripts_client_calls_our_server_with_a_token_only():
    with our_server("--auth") as url:
        ended = call_with_typescript(url, token("--audience", "dice-server"))
        assert ended.returncode == 0, ended.stderr
        for nothing in [[], ["nonsense"]]:
            refused = call_with_typescript(url, *nothing)
            assert refused.returncode == 1 and "code: 401" in refused.stderr, refused.stderr


def test_typescripts_client_calls_our_server_over_stdio():
    ended = call_with_typescript(MCP_CLI, "serve", "-t", "stdio")
    assert ended.returncode == 0, ended.stderr


def test_our_server_is_called_through_a_proxy_that_ends_tls():
    good = token("--audience", "dice-server")
    for buffering in ["on", "off"]:
        with our_server("--auth", "--allowed-host", "dice.example") as backend:
            with tls_proxy(backend, "dice.example", buffering) as (url, authority):
                for opening in OPENINGS:
                    met = []
                    asyncio.run(call_with_mcp_over_http(url, opening, met, good, authority, n_calls=50))
                    assert len(met) > 50 and {status for status, _ in met} <= {200, 202, 405}, met
                trusting = {"SSL_CERT_FILE": str(authority)}
                assert_rolled(ask(url, "--authorization", good, "Roll 5 dice", **trusting).stdout, 5)
                refused = ask(url, "Roll 5 dice", status=6, **trusting)
                assert UNAUTHORIZED in refused.stderr, refused.stderr
            with tls_proxy(backend, "other.example", buffering) as (url, authority):
                refused = ask(url, "--authorization", good, "Roll 5 dice", status=6, SSL_CERT_FILE=str(authority))
                assert "Http status code: 403 (Forbidden)" in refused.stderr, refused.stderr


def test_a_session_streams_through_a_proxy_that_ends_tls():
    for buffering in ["on", "off"]:
        with our_server("--sessions", "--allowed-host", "dice.example") as backend:
            with tls_proxy(backend, "dice.example", buffering) as (url, authority):
                met = []
                opening = ClientSession.initialize
                asyncio.run(call_with_mcp_over_http(url, opening, met, authority=authority, n_calls=50))
                assert met.count((200, "text/event-stream")) > 50, met


def test_openais_types_read_every_event_of_the_engine():
    events = TypeAdapter(ResponseStreamEvent)
    response = TypeAdapter(Response)
    with our_server() as url:
        told = ask(url, "--format", "jsonl", "Roll 4 dice").stdout.splitlines()
        for line in told:
            events.validate_python(json.loads(line))
        kept = response.validate_python(json.loads(told[-1])["response"])
        assert kept.output_text.startswith("You rolled 4 dice"), kept.output_text


async def tools_of(url):
    async with Client(url) as client:
        return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in await client.list_tools()]


def test_tools_shows_what_fastmcps_client_is_told():
    for program, signature in [
        ("dice.py", "roll_dice(n_dice: int)  Roll `n_dice` 6-sided dice and return the results.\n"),
        ("gallery.py", 'paint(title: str, size: int = 8, style: "plain" | "fine" = "plain", seed: int | null = null, '
                       "colours: list[str] = [])  [read-only] Paint a picture.\n"),
    ]:
        with fastmcp_server(program=program) as url:
            assert run("tools", "list", "--server-url", url).stdout == signature
            listed = json.loads(run("tools", "list", "--server-url", url, "--json").stdout)
            assert listed == asyncio.run(tools_of(url)), listed


def test_tools_calls_fastmcps_server():
    with fastmcp_server(program="gallery.py") as url, tempfile.TemporaryDirectory() as folder:
        def call(*args, status=0):
            return run("tools", "call", "--server-url", url, "--server-label", "gallery", "paint", *args, status=status)

        painted = call("title=7", "size=2", "seed=null", "style=fine", 'colours:=["red"]', "--output-dir", folder)
        [picture] = pathlib.Path(folder).iterdir()
        assert picture.name == "paint-1.png" and picture.read_bytes() == b"\x89PNG" * 2
        assert painted.stdout == f"'7' 2 'fine' None ['red']\nimage/png, 8 bytes: {picture}\n", painted.stdout
        whole = json.loads(call("--input-json", '{"title": "t"}', "--json").stdout)
        assert [block["type"] for block in whole["content"]] == ["text", "image"], whole
        failed = call("title=t", "size=101", status=8)
        assert failed.stderr == "error: `gallery.paint` failed: the canvas is too large\n", failed.stderr
        unfit = call("title=t", "style=bold", status=2)
        told = 'error: argument `style` must be "plain" | "fine"\nhint: --no-validate sends it anyway\n'
        assert unfit.stderr == told, unfit.stderr


def test_tools_is_refused_in_the_words_of_mcp_without_a_token():
    public_key = run("-q", "token", "public-key").stdout
    with fastmcp_server(public_key) as url:
        server = ["--server-url", url, "--server-label", "dice_server"]
        refused = run("tools", "call", *server, "roll_dice", "n_dice=3", status=6)
        assert "the MCP server answered HTTP 401 Unauthorized" in refused.stderr, refused.stderr
        assert "424" not in refused.stderr and "mcp-cli token" not in refused.stderr, refused.stderr
        good = token("--audience", "dice-server")
        rolled = run("tools", "call", *server, "--authorization", good, "roll_dice", "n_dice=3")
        assert len(json.loads(rolled.stdout)) == 3, rolled.stdout


@contextlib.contextmanager
def api_stand_in():
    """An endpoint that keeps the last request and answers it, streamed if it asks for that."""
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}]}
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0,
             "delta": "Hello", "sequence_number": 0, "logprobs": []}
    done = {"type": "response.completed", "sequence_number": 1, "response": response}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.authorization = self.headers["authorization"]
            self.server.request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            streams = self.server.request.get("stream")
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in [delta, done]) if streams else json.dumps(response)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if streams else "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_printed_request_runs_as_it_stands_and_says_the_same():
    secrets = {"OPENAI_API_KEY": "sk-canary", "MCP_AUTHORIZATION": "canary-token", "MCP_HEADER_X_KEY": "canary-value"}
    for streams in [True, False]:
        with api_stand_in() as server, tempfile.TemporaryDirectory() as folder:
            base_url = f"http://127.0.0.1:{server.server_port}/v1"
            question = ["--base-url", base_url, "--server-url", "https://a.example/mcp", "--allowed-tools", "a,b",
                        "--authorization", "canary-token", "-H", "X-Key: canary-value", "--metadata", "k=it's",
                        "--no-store", "--api-key", "sk-canary", *([] if streams else ["--no-stream"]),
                        "It's \"$5\" `now` \\ \u00e9 \\u0001 __VARIABLE_0__ \u0001"]
            assert run("ask", *question).stdout == "Hello\n"
            sent = server.request
            for language, command in [
                ("curl", ["sh"]), ("python", [sys.executable]), ("node", ["node"]),
            ]:
                printed = run("ask", *question, "--print-request", language).stdout
                assert "canary" not in printed, printed
                script = NODE_FOLDER / "ask.mjs" if language == "node" else pathlib.Path(folder) / "ask"
                script.write_text(printed)
                server.request = None
                ended = subprocess.run(
                    [*command, script], env={**ENVIRONMENT, **secrets}, capture_output=True, text=True, timeout=60
                )
                assert ended.returncode == 0, ended.stderr
                assert server.request == sent, (language, server.request, sent)
                assert server.authorization == "Bearer sk-canary"
                if language != "curl":
                    assert ended.stdout == "Hello\n", ended.stdout


def main(title, names):
    cases = [(name, case) for name, case in names.items() if name.startswith("test_")]
    failed = 0
    for name, case in cases:
        started = time.monotonic()
        try:
            if asyncio.iscoroutinefunction(case):
                asyncio.run(case())
            else:
                case()
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"FAILED {name}", flush=True)
        else:
            print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"{title}: {len(cases) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    # Its cases are made of what stands above.
    import check

    sys.exit(main("interop", globals() | vars(check)))
