#!/usr/bin/env python3
"""Servers and bridges that people use, seen by mcp-cli: each is listed, called, checked and asked.

Usage: servers.py PATH_OF_MCP_CLI NODE_FOLDER PEERS_FOLDER

NODE_FOLDER has the servers of npm in its node_modules, and a bin with a python that has fastmcp. PEERS_FOLDER has a bin with
mcp-server-time and mcp-proxy of PyPI.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

MCP_CLI = os.path.abspath(sys.argv[1])
NODE, PEERS = (pathlib.Path(folder).resolve() for folder in sys.argv[2:4])
NPM = NODE / "node_modules/.bin"
EVERYTHING = [NPM / "mcp-server-everything", "stdio"]
TIME = [PEERS / "bin/mcp-server-time"]
WEATHER = '''
from fastmcp import FastMCP
mcp = FastMCP("weather")
@mcp.tool(annotations={"readOnlyHint": True})
def forecast(city: str) -> str:
    """Say what the weather will be like in a city."""
    return f"{city}: sunny"
mcp.run(transport="sse", port=PORT, show_banner=False)
'''
# Servers with a tool, its arguments, what its answer has in it, and a question that leads to it.
ECHO = ("echo", ["message=hi"], "hi", 'echo "hello"', "hello")
CLOCK = ("get_current_time", ["timezone=UTC"], "UTC", 'Get the current time, timezone "UTC"', "UTC")
FORECAST = ("forecast", ["city=Rome"], "sunny", 'What is the forecast for "Rome"?', "sunny")


def mcp_cli(*args):
    ended = subprocess.run([MCP_CLI, "-q", *map(str, args)], capture_output=True, text=True, timeout=60,
                           stdin=subprocess.DEVNULL, env={**os.environ, "HOME": HOME})
    assert ended.returncode == 0, f"{args} ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def see(name, tool, target, command=()):
    """Lists, calls, checks and asks one server: `target` names it, or `command` behind `--`."""
    tool_name, arguments, answer, question, said = tool
    behind = ["--", *command] if command else []
    assert tool_name in mcp_cli("tools", "list", *target, *behind), name
    assert answer in mcp_cli("tools", "call", *target, tool_name, *arguments, *behind), name
    assert "\nlisted " in mcp_cli("check", *target, *behind), name
    url = ["--url", *target] if target else []
    assert said in mcp_cli("ask", "--local", "--require-approval", "never", *url, question, *behind), name
    print(f"{name}: listed, called, checked, asked", flush=True)


# A client of MCP 2025-11-25 that serves elicitations.
CLIENT = '''
import asyncio, sys
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult

async def main():
    async def asked(message, response_type, params, context):
        return ElicitResult(action="decline")
    progress = []
    async with Client(sys.argv[1], elicitation_handler=asked) as client:
        assert len(await client.list_tools()) > 0
        assert sys.argv[2] in [tool.name for tool in await client.list_tools()]
        if sys.argv[2] == "echo":
            assert len(await client.list_resources()) > 0 and len(await client.list_prompts()) > 0
            told = await client.call_tool("trigger-long-running-operation", {"duration": 0.3, "steps": 3},
                                          progress_handler=lambda *step: progress.append(step) or asyncio.sleep(0))
            assert len(progress) == 3, progress
            told = await client.call_tool("trigger-elicitation-request", {})
            assert "declined" in told.content[0].text, told
asyncio.run(main())
'''


def see_behind_serve(name, tool, *target):
    """The same of a server that `serve` puts behind its door, and with the client of FastMCP."""
    with listening(MCP_CLI, "serve", "-p", "PORT", *target, HOME=HOME) as url:
        see(f"serve, {name}", tool, [f"{url}/mcp"])
        ended = subprocess.run([NODE / "bin/python", "-c", CLIENT, f"{url}/mcp", tool[0]], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, f"{name}: {ended.stderr}"


def clients_of_npm():
    """mcp-remote and the MCP Inspector's CLI in front of a server over stdio, with a token."""
    with listening(MCP_CLI, "serve", "-p", "PORT", "--auth", "--", *EVERYTHING, HOME=HOME) as url:
        bearer = "Authorization: Bearer " + mcp_cli("token", "--audience", "dice-server").strip()
        see("mcp-remote in front of serve", ECHO, [], [NPM / "mcp-remote", f"{url}/mcp", "--allow-http", "--header", bearer])
        inspector = [NPM / "mcp-inspector", "--cli", f"{url}/mcp", "--transport", "http", "--header", bearer, "--method"]
        for method, said in [(["tools/list"], '"echo"'), (["tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"], "Echo: hi"),
                             (["resources/list"], '"uri"'), (["prompts/list"], '"name"')]:
            # Its own Node: it needs a newer one than others do.
            ended = subprocess.run([NPM / "node", *map(str, inspector), *method], capture_output=True, text=True, timeout=60)
            assert ended.returncode == 0 and said in ended.stdout, f"{method}: {ended.stdout}\n{ended.stderr}"
        print("MCP Inspector in front of serve: tools, resources, prompts", flush=True)


@contextlib.contextmanager
def listening(*command, **environment):
    """A port that the command listens on; `PORT` in it is that port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(word).replace("PORT", str(port)) for word in command]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                              env={**os.environ, **environment, "PORT": str(port)})
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert server.poll() is None, f"{command} ended with {server.returncode}"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        # What it has started ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait()


def main():
    files = pathlib.Path(HOME) / "files"
    files.mkdir()
    (files / "a.txt").write_text("hello from a file")
    read = ("read_text_file", [f"path={files}/a.txt"], "hello from", f'read text file "{files}/a.txt"', "hello from")
    see("server-everything, stdio", ECHO, [], EVERYTHING)
    see("server-filesystem, stdio", read, [], [NPM / "mcp-server-filesystem", files])
    see("mcp-server-time, stdio", CLOCK, [], TIME)
    everything = NPM / "mcp-server-everything"
    with listening(everything, "streamableHttp") as url:
        see("server-everything, Streamable HTTP", ECHO, [f"{url}/mcp"])
        see_behind_serve("server-everything with its sessions", ECHO, f"{url}/mcp")
        see("serve -t stdio in front of it", ECHO, [], [MCP_CLI, "serve", "-t", "stdio", f"{url}/mcp"])
    with listening(everything, "sse") as url:
        see("server-everything, HTTP+SSE of the TypeScript SDK", ECHO, [f"{url}/sse"])
        see_behind_serve("the same", ECHO, f"{url}/sse")
    with listening(NODE / "bin/python", "-c", WEATHER) as url:
        see("FastMCP, HTTP+SSE", FORECAST, [f"{url}/sse"])
        see_behind_serve("the same", FORECAST, f"{url}/sse")
    see_behind_serve("server-everything, stdio", ECHO, "--", *EVERYTHING)
    see_behind_serve("server-filesystem, stdio", read, "--", NPM / "mcp-server-filesystem", files)
    see_behind_serve("mcp-server-time, stdio", CLOCK, "--", *TIME)
    clients_of_npm()
    stdio = " ".join(map(str, EVERYTHING))
    with listening(NPM / "supergateway", "--stdio", stdio, "--port", "PORT") as url:
        see("supergateway, HTTP+SSE", ECHO, [f"{url}/sse"])
    with listening(NPM / "supergateway", "--stdio", stdio, "--outputTransport", "streamableHttp", "--port", "PORT") as url:
        see("supergateway, Streamable HTTP", ECHO, [f"{url}/mcp"])
    with listening(NPM / "mcp-proxy", "--port", "PORT", *EVERYTHING) as url:
        see("mcp-proxy of npm, Streamable HTTP", ECHO, [f"{url}/mcp"])
        see("mcp-proxy of npm, HTTP+SSE", ECHO, [f"{url}/sse"])
    with listening(PEERS / "bin/mcp-proxy", "--port", "PORT", *TIME) as url:
        see("mcp-proxy of PyPI, Streamable HTTP", CLOCK, [f"{url}/mcp"])
        see("mcp-proxy of PyPI, HTTP+SSE", CLOCK, [f"{url}/sse"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as HOME:
        main()
