#!/usr/bin/env python3
"""Three kinds of server behind the door, asked by openai-python through the gateway: with a token at the address of the door, behind
nginx, and through the gateway's tunnel. Then what runs in between is killed, and asked again.

Usage: kinds.py PATH_OF_MCP_CLI NODE_FOLDER

NODE_FOLDER has server-everything of npm in its node_modules, and a bin with a python that has fastmcp and openai. nginx is installed.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import openai

MCP_CLI = os.path.abspath(sys.argv[1])
NODE = pathlib.Path(sys.argv[2]).resolve()
EVERYTHING = NODE / "node_modules/.bin/mcp-server-everything"
WEATHER = '''
import os
from fastmcp import FastMCP
mcp = FastMCP("weather")
@mcp.tool(annotations={"readOnlyHint": True})
def forecast(city: str) -> str:
    """Say what the weather will be like in a city."""
    return f"{city}: sunny"
mcp.run(transport="http", port=int(os.environ["PORT"]), show_banner=False)
'''
NGINX = """
daemon off; pid {folder}/pid; error_log /dev/null; events {{}}
http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {door}; proxy_http_version 1.1; proxy_buffering off; proxy_set_header Host $host; }} }} }}
"""
ECHO = ('echo "hello"', "hello")
FORECAST = ('What is the forecast for "Rome"?', "sunny")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(port, *command, **environment):
    """A process that listens on a port."""
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=LOG, start_new_session=True,
                               env={**os.environ, "HOME": HOME, **environment, "PORT": str(port)})
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        assert process.poll() is None, f"{command} ended with {process.returncode}"
        time.sleep(0.1)
    raise SystemExit(f"{command} does not listen")


@contextlib.contextmanager
def listening(port, *command, **environment):
    process = start(port, *command, **environment)
    try:
        yield process
    finally:
        end(process, signal.SIGTERM)


def end(process, how):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    process.wait()


def ask(client, kind, **entry):
    question, said = kind
    entry = {"type": "mcp", "server_label": "mine", "require_approval": "never", "authorization": TOKEN, **entry}
    response = client.responses.create(model="rules", input=question, tools=[entry])
    assert said in response.output_text, response


def until_asked(client, kind, **entry):
    """Asks until it heals, for at most half a minute."""
    began = time.monotonic()
    while True:
        try:
            return ask(client, kind, **entry)
        except (openai.APIError, openai.APIConnectionError, AssertionError):
            if time.monotonic() - began > 30:
                raise
            time.sleep(0.2)


def see(name, kind, *target):
    """One server: at the door, behind nginx, and through the tunnel, whose client has no address at all in the question."""
    gate, door, proxy = free_port(), free_port(), free_port()
    gateway = [MCP_CLI, "gateway", "-p", gate, "--api-key-file", KEY_FILE]
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{gate}/v1", api_key=KEY, max_retries=0)
    running = start(gate, *gateway)
    try:
        tunnel = client.post("/tunnels", body={"name": "mine"}, cast_to=object)["id"]
        serve = [MCP_CLI, "serve", "-p", door, "--auth", "--tunnel", "openai", "--tunnel-id", tunnel, *target]
        plane = {"CONTROL_PLANE_BASE_URL": f"http://127.0.0.1:{gate}", "CONTROL_PLANE_API_KEY": KEY}
        served = start(door, *serve, **plane)
        try:
            url = f"http://127.0.0.1:{door}/mcp"
            ask(client, kind, server_url=url)
            with contextlib.suppress(openai.APIStatusError):
                ask(client, kind, server_url=url, authorization="none")
                raise SystemExit(f"{name}: answered without a token")
            folder = pathlib.Path(HOME) / f"nginx{proxy}"
            folder.mkdir()
            (folder / "conf").write_text(NGINX.format(folder=folder, port=proxy, door=f"http://127.0.0.1:{door}"))
            with listening(proxy, "nginx", "-c", folder / "conf", PATH=os.environ["PATH"] + ":/usr/sbin"):
                ask(client, kind, server_url=f"http://127.0.0.1:{proxy}/mcp")
            until_asked(client, kind, tunnel_id=tunnel)
            for child in subprocess.run(["pgrep", "-P", str(served.pid)], capture_output=True, text=True).stdout.split():
                os.kill(int(child), signal.SIGKILL)
            until_asked(client, kind, server_url=url)
            until_asked(client, kind, tunnel_id=tunnel)
            end(running, signal.SIGKILL)
            running = start(gate, *gateway)
            until_asked(client, kind, tunnel_id=tunnel)
            end(served, signal.SIGKILL)
            served = start(door, *serve, **plane)
            until_asked(client, kind, tunnel_id=tunnel)
        finally:
            end(served, signal.SIGTERM)
    finally:
        end(running, signal.SIGTERM)
    print(f"{name}: at the door, behind nginx, through the tunnel; after a kill of the child, of the control plane, of the client", flush=True)


def main():
    port = free_port()
    with listening(port, NODE / "bin/python", "-c", WEATHER):
        see("FastMCP over HTTP", FORECAST, f"http://127.0.0.1:{port}/mcp")
    port = free_port()
    with listening(port, EVERYTHING, "streamableHttp"):
        see("a server of the TypeScript SDK with sessions", ECHO, f"http://127.0.0.1:{port}/mcp")
    see("a server over stdio", ECHO, "--", EVERYTHING, "stdio")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as HOME, open(f"{HOME}/log", "w+") as LOG:
        KEY = "sk-kinds-of-servers"
        KEY_FILE = pathlib.Path(HOME) / "key"
        KEY_FILE.write_text(KEY)
        KEY_FILE.chmod(0o600)
        token = [MCP_CLI, "token", "-q", "--audience", "dice-server"]
        TOKEN = subprocess.run(token, env={**os.environ, "HOME": HOME}, capture_output=True, text=True, check=True).stdout.strip()
        try:
            main()
        except BaseException:
            LOG.seek(0)
            print(LOG.read()[-4000:], file=sys.stderr)
            raise
