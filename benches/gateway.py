"""What the gateway adds to a turn's upstream and MCP calls, how many responses a second it gives, and what it keeps.

Usage: benches/gateway.py [--only latency|rates|memory] [--turns N] [--seconds N] [--responses N] [PATH_OF_MCP_CLI]
(default: target/release/mcp-cli, all three, 2000 turns, 3 seconds, 100000 responses; needs wrk, and two cores to itself)

Latency: a turn asks the upstream, calls `roll_dice` and asks the upstream again. This client times the turn through the
gateway, and in the same round asks the same upstream and dice server for the parts themselves, with the bytes that the
gateway sends. What is added is the difference of the two, round by round. A bare relay, `benches/references.rs` (with
`cargo build --release --example references`), is timed in the same rounds: it sends the same requests and streams what is
answered unread, so it shows what the HTTP libraries alone add.
Rates: the dice server and the gateway share one core, wrk has the other; each figure is the best of its rounds.
Machines are noisy, so look at the ratios, and run it twice.
"""

import argparse
import base64
import contextlib
import gc
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

from upstream import receive

HERE = os.path.dirname(os.path.abspath(__file__))
UPSTREAM = os.path.join(HERE, "upstream.py")
ROUNDS = 3
WARM_UP = 200
MOST_RESPONSES, MOST_BYTES = 10_000, 256 * 1024 * 1024  # what the gateway keeps: `Bounds` in src/engine/store/mod.rs
HOME = tempfile.TemporaryDirectory()
ENVIRONMENT = {**os.environ, "HOME": HOME.name}
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


# The servers.


@contextlib.contextmanager
def running(*command):
    """The URL that a server of ours listens on, and its process id."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)
    try:
        [url] = next(filter(None, (re.findall(r"listening on (http://\S+)", line) for line in process.stdout)))
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


# The client.


class Client:
    """A connection that is kept, and asked one thing after the other."""

    def __init__(self, url):
        self.host = urlsplit(url).netloc
        address, port = self.host.split(":")
        self.socket = socket.create_connection((address, int(port)), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, path, body=None, **headers):
        """The bytes of a request, made before anything is timed."""
        if isinstance(body, dict):
            body = json.dumps(body)
        method = "GET" if body is None else "POST"
        body = (body or "").encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}", "content-type: application/json",
                 "accept: application/json, text/event-stream", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def ask(self, request):
        self.socket.sendall(request)
        head, body = receive(self.socket)
        assert head.startswith(b"HTTP/1.1 200"), (head + body).decode()
        return body


def create(dice_url, **fields):
    """A request for three dice."""
    tool = {"type": "mcp", "server_label": "dice_server", "server_url": dice_url, "require_approval": "never"}
    return {"model": "m", "input": "Roll 3 dice", "tools": [tool], **fields}


def listed(client, dice_url):
    """The id of a response that has the server's list of tools, and nothing else."""
    answer = client.ask(client.request("/v1/responses", create(dice_url, generate=False)))
    return json.loads(answer)["id"]


def mcp(client, method, **params):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}
    name = {"mcp_name": params["name"]} if "name" in params else {}
    return client.request("/mcp", body, mcp_protocol_version=VERSION, mcp_method=method, **name)


# The added latency.


def latency(mcp_cli, turns):
    references = os.path.join(os.path.dirname(mcp_cli), "examples", "references")
    with running(mcp_cli, "serve", "-p", "0") as (dice_url, _), \
            running(sys.executable, UPSTREAM) as (upstream_url, _), \
            running(references, "relay") as (relay_url, _), \
            running(mcp_cli, "gateway", "-p", "0", "--no-auth", "--model", "upstream", "--upstream-url", upstream_url,
                    "--upstream-api-key", "k") as (gateway_url, _):
        gateway, model, dice, relay = Client(gateway_url), Client(upstream_url), Client(dice_url), Client(relay_url)
        previous = listed(gateway, dice_url)
        whole = {
            "tools listed before": create(dice_url, stream=True, previous_response_id=previous),
            "tools listed in it": create(dice_url, stream=True),
        }
        hop = [(gateway, gateway.request("/healthz"))]
        print(f"{turns} turns, in ms{'':24}{'median':>10}{'p99':>10}")
        hops = [timed(hop)[0] for _ in range(turns)]
        show("an empty answer of the gateway", hops)
        for name, body in whole.items():
            turn = [(gateway, gateway.request("/v1/responses", body))]
            answer = gateway.ask(turn[0][1])
            assert b"event: response.mcp_call.completed" in answer and b"word word" in answer, answer.decode()
            before = json.loads(model.ask(model.request("/")))
            first, second = before["bodies"]
            parts = [(model, model.request("/v1/responses", first)),
                     (dice, mcp(dice, "tools/call", name="roll_dice", arguments={"n_dice": 3})),
                     (model, model.request("/v1/responses", second))]
            if name == "tools listed in it":
                parts.insert(0, (dice, mcp(dice, "tools/list")))
            relayed = [(relay, relay.request("/mcp", json.dumps([part_of(*part) for part in parts])))]
            turn_times, part_times, relay_times = side_by_side(turns, turn, parts, relayed)
            show(f"a turn, {name}", turn_times)
            show("  its parts alone", part_times)
            for who, times in {"": turn_times, " by a bare relay": relay_times}.items():
                added = [one - other for one, other in zip(times, part_times)]
                to_hop = statistics.median(added) / statistics.median(hops)
                to_parts = statistics.median(added) / statistics.median(part_times)
                wanted = f"; {at_most(to_parts, 1.2)}" if name == "tools listed before" and not who else ""
                show(f"  added{who}", added, f"{to_hop:5.1f} x an empty answer, {to_parts:.2f} x its parts{wanted}")
            connections = json.loads(model.ask(model.request("/")))["connections"] - before["connections"]
            # Those of the relay are among the connections, but not among the steps.
            print(f"  new connections to the upstream in {2 * (WARM_UP + turns)} steps: {connections}")


def part_of(client, request):
    """A request as the relay takes it."""
    head, _, body = request.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    del headers["content-length"]
    return {"url": f"http://{client.host}{start.split()[1]}", "headers": headers, "body": body.decode()}


def side_by_side(turns, *ways):
    """The seconds that each way takes, round by round; each is first in its share of the rounds."""
    times = [[] for _ in ways]
    for number in range(WARM_UP + turns):
        for place in range(len(ways)):
            way = (number + place) % len(ways)
            took, answer = timed(ways[way])
            times[way].append(took)
            assert b"event: response.completed" in answer, answer.decode()
    return [it[WARM_UP:] for it in times]


def timed(requests):
    """The seconds that the requests take, one after the other, and the last answer."""
    gc.disable()
    started = time.perf_counter()
    for client, request in requests:
        answer = client.ask(request)
    took = time.perf_counter() - started
    gc.enable()
    return took, answer


def at_most(value, most):
    return f"target: at most {most}{'' if value <= most else ', missed'}"


def at_least(value, least):
    return f"target: at least {least}{'' if value >= least else ', missed'}"


def show(name, seconds, note=""):
    median, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
    print(f"{name:40}{median * 1000:10.3f}{p99 * 1000:10.3f}  {note}".rstrip())


# Responses a second.


def rates(mcp_cli, seconds):
    pinned = ["taskset", "-c", "0", mcp_cli]
    with running(*pinned, "serve", "-p", "0") as (dice_url, _), \
            running(*pinned, "gateway", "-p", "0", "--no-auth") as (gateway_url, _):
        respond = os.path.join(HOME.name, "respond.lua")
        with open(respond, "w", encoding="ascii") as script:
            script.write(RESPOND)

        def respond_to(body):
            return f"{gateway_url}/responses", respond, {"BODY": json.dumps(body)}

        def go_on(**fields):
            # Made anew, for what nobody goes on from is forgotten while others fill the store.
            previous = listed(Client(gateway_url), dice_url)
            return respond_to(create(dice_url, previous_response_id=previous, **fields))

        loads = {
            CALLS: lambda: (dice_url, os.path.join(HERE, "call.lua"), {"ERA": "new"}),
            "a response without tools": lambda: respond_to({"model": "m", "input": "Hello"}),
            "a turn, tools listed before": go_on,
            "the same, streamed": lambda: go_on(stream=True),
            "a turn, tools listed in it": lambda: respond_to(create(dice_url)),
        }
        best = dict.fromkeys(loads, 0)
        for _ in range(ROUNDS):
            for name, load in loads.items():
                wrk(*load(), seconds=1)
                best[name] = max(best[name], wrk(*load(), seconds=seconds))
    print(f"\n{'16 connections':40}{'a second':>10}{'to such a call':>20}")
    for name, rate in best.items():
        ratio = rate / best[CALLS]
        wanted = at_least(ratio, TARGETS[name]) if name in TARGETS else ""
        print(f"{name:40}{rate:10.0f}{ratio:18.3f} x  {wanted}".rstrip())


CALLS = "tools/call of the dice server alone"
TARGETS = {"a response without tools": 0.25, "a turn, tools listed before": 0.08}
RESPOND = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = os.getenv("BODY")
"""


def wrk(url, script, environment, seconds):
    """Requests a second."""
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c16", f"-d{seconds}s", "-s", script, url]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**ENVIRONMENT, **environment})
    assert "Non-2xx" not in ended.stdout and "Socket errors" not in ended.stdout, ended.stdout
    [rate] = re.findall(r"Requests/sec: +([\d.]+)", ended.stdout)
    return float(rate)


# Memory.


def memories(mcp_cli, responses):
    """Responses of a few kB come to the bound on their number, larger ones to that on their bytes."""
    grows(mcp_cli, responses, 4 * 1024)
    grows(mcp_cli, responses // 5, 64 * 1024)


def grows(mcp_cli, responses, size):
    """Resident memory after each tenth of the responses, and how it grows when the store is full."""
    with running(mcp_cli, "gateway", "-p", "0", "--no-auth") as (url, pid):
        client = Client(url)
        # Text that the store cannot compress: real text takes less.
        text = base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()
        request = client.request("/v1/responses", {"model": "m", "input": text})
        kept = size + len(client.ask(request))
        sizes = [(0, memory(pid))]
        for number in range(1, responses + 1):
            client.ask(request)
            if number % (responses // 10) == 0:
                sizes.append((number, memory(pid)))
    print(f"\n{responses} responses to {size // 1024} kB, in MB after each {responses // 10}: "
          + " ".join(f"{it / 1024 / 1024:.1f}" for _, it in sizes))
    # What the allocator holds settles in the time that the store takes to fill once more.
    full = min(MOST_RESPONSES, MOST_BYTES // kept)
    after = [it for it in sizes if it[0] >= 2 * full]
    if len(after) < 3:
        return print(f"too few to tell what happens beyond {full}, where the store is full")
    slope, _ = statistics.linear_regression(*zip(*after))
    print(f"from {after[0][0]} on, {slope:+.1f} bytes a response, {slope / kept:+.2%} of what it would take to keep it; "
          f"{after[-1][1] / full / kept:.2f} x what is kept; {at_most(after[-1][1] / full / kept, 1.3)}")


def memory(pid):
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        [resident] = [int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS")]
    return resident


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mcp_cli", nargs="?", default="target/release/mcp-cli")
    parser.add_argument("--only", choices=["latency", "rates", "memory"])
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--responses", type=int, default=100_000)
    given = parser.parse_args()
    if given.only in (None, "latency"):
        latency(given.mcp_cli, given.turns)
    if given.only in (None, "rates"):
        rates(given.mcp_cli, given.seconds)
    if given.only in (None, "memory"):
        memories(given.mcp_cli, given.responses)


if __name__ == "__main__":
    main()
