"""What `serve` adds in front of a server of the user's own, beside the same server asked directly.

Usage: benches/relay.py [PATH_OF_MCP_CLI [PATH_OF_UPSTREAMS [NODE_FOLDER PEERS_FOLDER]]]
(default: target/release/mcp-cli and target/release/examples/upstreams; needs wrk)

With the folders that .ci/run makes, bridges that people use run in front of the same server over stdio: NODE_FOLDER has
supergateway and mcp-proxy of npm and a python with fastmcp, PEERS_FOLDER has mcp-proxy of PyPI.

The servers behind it take no time of their own (benches/upstreams.rs). Each figure is the best of its rounds, direct and
through the relay in turn. Machines are noisy, so look at the ratios.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

MCP_CLI = sys.argv[1] if len(sys.argv) > 1 else "target/release/mcp-cli"
UPSTREAMS = sys.argv[2] if len(sys.argv) > 2 else "target/release/examples/upstreams"
CALL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "call.lua")
NODE, PEERS = sys.argv[3:5] if len(sys.argv) > 4 else (None, None)
ROUNDS = int(os.environ.get("ROUNDS", 3))
CALLERS = 1000
MEGABYTES = 5
# A bridge of FastMCP to a command.
PROXY = """
import sys
from fastmcp.server import create_proxy
config = {"mcpServers": {"it": {"command": sys.argv[2], "args": ["stdio"]}}}
create_proxy(config).run(transport="http", port=int(sys.argv[1]), stateless_http=True, show_banner=False, log_level="ERROR")
"""
HOME = tempfile.TemporaryDirectory()
ENVIRONMENT = {**os.environ, "HOME": HOME.name}


@contextlib.contextmanager
def running(*command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)
    try:
        url = next(found[1] for line in process.stdout if (found := re.search(r"listening on (http://\S+)", line)))
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def wrk(url, connections, era):
    """Calls a second, and the median time of one in microseconds."""
    command = ["wrk", "-t1", "-d3s", "--latency", f"-c{connections}", "-s", CALL, url]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**ENVIRONMENT, "ERA": era})
    assert "Non-2xx" not in ended.stdout, ended.stdout
    [rate] = re.findall(r"Requests/sec: +([\d.]+)", ended.stdout)
    [median, unit] = re.findall(r"50% +([\d.]+)(us|ms)", ended.stdout)[0]
    return float(rate), float(median) * (1000 if unit == "ms" else 1)


@contextlib.contextmanager
def peer(*command):
    """A bridge that does not say when it listens; `PORT` in the command is its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [word.replace("PORT", port) for word in command]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, **silent)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp", process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


class Caller:
    """A client of MCP 2025-11-25 with a connection of its own."""

    def __init__(self, url):
        url = urllib.parse.urlsplit(url)
        self.path = url.path
        self.connection = http.client.HTTPConnection(url.netloc, timeout=60)
        self.headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

    def post(self, method, params, id=1):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if id is not None:
            message["id"] = id
        self.connection.request("POST", self.path, json.dumps(message), self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 202), (answer.status, text[:500])
        return answer, text

    def call(self, **arguments):
        return self.post("tools/call", {"name": "roll_dice", "arguments": {"n_dice": 3, **arguments}})

    def come_and_go(self):
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        answer, _ = self.post("initialize", client)
        self.headers |= {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
        self.post("notifications/initialized", {}, id=None)
        self.call()
        self.connection.request("DELETE", self.path, headers=self.headers)
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status in (200, 202, 204), answer.status
        self.connection.close()


def median_of(count, work):
    """The median time of `work`, in milliseconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def children(pid):
    ended = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return len(ended.stdout.split())


def callers(serve):
    """What callers leave behind who come, call and go, each with a copy of the server."""
    with running(*serve, "--sessions", "--processes", "session", "--", UPSTREAMS, "stdio") as (url, pid):
        for _ in range(CALLERS // 10):
            Caller(url).come_and_go()
        before = memory(pid)
        for _ in range(CALLERS):
            Caller(url).come_and_go()
        time.sleep(1)
        return before, memory(pid), children(pid)


def large(serve):
    """A call with a large argument: directly, and through the relay."""
    argument = "x" * (MEGABYTES * 1024 * 1024)
    with running(UPSTREAMS, "http") as (direct, _), running(*serve, direct) as (url, _):
        callers = [Caller(direct), Caller(url)]
        return [median_of(9, lambda: caller.call(text=argument)) for caller in callers]


def tunnel(serve):
    """A call at the door, and through the tunnel of a gateway."""
    with running(MCP_CLI, "gateway", "-p", "0", "--no-auth") as (gateway, _):
        gateway = gateway.removesuffix("/v1")
        control = http.client.HTTPConnection(urllib.parse.urlsplit(gateway).netloc)
        control.request("POST", "/v1/tunnels", '{"name": "bench"}', {"Content-Type": "application/json"})
        identifier = json.loads(control.getresponse().read())["id"]
        ENVIRONMENT.update(CONTROL_PLANE_BASE_URL=gateway, CONTROL_PLANE_API_KEY="any")
        command = [*serve, "--no-auth", "--tunnel", "openai", "--tunnel-id", identifier, "--", UPSTREAMS, "stdio"]
        with running(*command) as (url, _):
            time.sleep(1)
            door, through = Caller(url), Caller(f"{gateway}/v1/mcp/{identifier}")
            return [median_of(300, caller.call) for caller in (door, through)]


def drive(in_flight, *command):
    ended = subprocess.run([UPSTREAMS, "drive", "3", str(in_flight), *command], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    rate, median = ended.stdout.split()
    return float(rate), float(median)


def memory(pid, of="VmRSS"):
    """In megabytes: resident, or with `RssAnon` without the pages of the executable file."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        [resident] = [int(line.split()[1]) / 1024 for line in status if line.startswith(of)]
    return resident


def best(results):
    return max(rate for rate, _ in results), min(median for _, median in results)


def main():
    serve = [MCP_CLI, "serve", "-p", "0", "--no-banner"]
    rows = {}

    def keep(name, result):
        rows.setdefault(name, []).append(result)

    stdio = os.path.abspath(UPSTREAMS)
    peers = NODE and [
        ("supergateway", [f"{NODE}/node_modules/.bin/supergateway", "--stdio", f"{stdio} stdio", "--outputTransport",
                          "streamableHttp", "--port", "PORT", "--logLevel", "none"]),
        ("mcp-proxy of npm", [f"{NODE}/node_modules/.bin/mcp-proxy", "--stateless", "--host", "127.0.0.1", "--port", "PORT", stdio, "stdio"]),
        ("mcp-proxy of PyPI", [f"{PEERS}/bin/mcp-proxy", "--stateless", "--port", "PORT", "--", stdio, "stdio"]),
        ("FastMCP proxy", [f"{NODE}/bin/python", "-c", PROXY, "PORT", stdio]),
    ] or []
    with running(*serve, "--", UPSTREAMS, "stdio") as (url, pid):
        Caller(url).call()
        time.sleep(1)
        idle, own = memory(pid), memory(pid, "RssAnon")
    for _ in range(ROUNDS):
        for in_flight in [16, 1]:
            keep(("stdio, direct", in_flight), drive(in_flight, UPSTREAMS, "stdio"))
            with running(*serve, "--", UPSTREAMS, "stdio") as (url, pid):
                for era in ["old", "new"]:
                    keep((f"serve -- COMMAND, {era} era", in_flight), wrk(url, in_flight, era))
                resident = memory(pid)
            with running(*serve, "--record", f"{HOME.name}/{len(os.listdir(HOME.name))}.jsonl", "--", UPSTREAMS, "stdio") as (url, _):
                keep(("the same with --record, old era", in_flight), wrk(url, in_flight, "old"))
            for name, command in peers:
                with peer(*command) as (url, pid):
                    keep((name, in_flight), wrk(url, in_flight, "old"))
            with running(UPSTREAMS, "http") as (direct, _), running(*serve, direct) as (url, _):
                keep(("HTTP, direct", in_flight), wrk(direct, in_flight, "old"))
                keep(("serve URL, old era", in_flight), wrk(url, in_flight, "old"))
                keep(("serve -t stdio URL", in_flight), drive(in_flight, MCP_CLI, "serve", "-t", "stdio", direct))
    print(f"{'':34}{'in flight':>10}{'calls/s':>10}{'of direct':>10}{'median':>10}{'added':>10}")
    for (name, in_flight), results in rows.items():
        rate, median = best(results)
        direct = "HTTP, direct" if "URL" in name or name == "HTTP, direct" else "stdio, direct"
        direct_rate, direct_median = best(rows[direct, in_flight])
        added = median - direct_median
        print(f"{name:34}{in_flight:>10}{rate:>10.0f}{rate / direct_rate:>10.2f}{median:>8.0f}us{added:>8.0f}us")
    print(f"memory of serve -- COMMAND: {idle:.1f} MB after one call ({own:.1f} MB without the executable), {resident:.1f} MB after all")
    before, after, left = callers(serve)
    print(f"{CALLERS} callers that come and go, each with its copy: {before:.1f} MB before, {after:.1f} MB after, {left} processes left")
    direct, relayed = large(serve)
    print(f"a call of {MEGABYTES} MB: {direct:.1f} ms direct, {relayed:.1f} ms through serve URL")
    door, through = tunnel(serve)
    print(f"a call through the tunnel of a gateway: {through:.2f} ms, {through - door:.2f} ms more than at the door")


if __name__ == "__main__":
    main()
