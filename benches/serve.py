"""How many calls a second the dice server answers, and in how much memory, beside references measured in the same run.

Usage: benches/serve.py [PATH_OF_MCP_CLI [PATH_OF_REFERENCES]]
(default: target/release/mcp-cli and target/release/examples/references; needs wrk, and two cores to itself)

The server is on one core and wrk on the other. The servers take turns, and each figure is the best of its rounds.
Machines are noisy, so look at the ratios. FastMCP is measured too where it is installed.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

MCP_CLI = sys.argv[1] if len(sys.argv) > 1 else "target/release/mcp-cli"
REFERENCES = sys.argv[2] if len(sys.argv) > 2 else "target/release/examples/references"
HERE = os.path.dirname(os.path.abspath(__file__))
CALL = os.path.join(HERE, "call.lua")
ROUNDS = 4
HOME = tempfile.TemporaryDirectory()
ENVIRONMENT = {**os.environ, "HOME": HOME.name}


@contextlib.contextmanager
def running(*command):
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    )
    try:
        for line in process.stdout:
            if found := re.search(r"(?:listening|running) on (http://\S+)", line):
                url = found[1] if found[1].endswith("/mcp") else found[1].rstrip("/") + "/mcp"
                break
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def wrk(url, *options, seconds=3, **environment):
    """Requests a second, and the median of a request's time in microseconds."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-d{seconds}s", "--latency", *options, "-s", CALL, url]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**ENVIRONMENT, **environment})
    assert "Non-2xx" not in ended.stdout, ended.stdout
    [rate] = re.findall(r"Requests/sec: +([\d.]+)", ended.stdout)
    [median, unit] = re.findall(r"50% +([\d.]+)(us|ms)", ended.stdout)[0]
    [count] = re.findall(r"(\d+) requests in", ended.stdout)
    return float(rate), float(median) * (1000 if unit == "ms" else 1), int(count)


def memory(pid):
    """Resident memory in MB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        [memory] = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")]
    return memory


def calls():
    key_pair = [MCP_CLI, "serve", "-p", "0", "--auth"]
    token = subprocess.run(
        [MCP_CLI, "-q", "token", "--audience", "dice-server"], capture_output=True, text=True, check=True, env=ENVIRONMENT
    ).stdout.strip()
    servers = {
        "raw axum, constant bytes": ([REFERENCES, "axum"], {}),
        "rmcp alone, 2025-11-25": ([REFERENCES, "rmcp"], {}),
        "rmcp alone, 2026-07-28": ([REFERENCES, "rmcp"], {"ERA": "new"}),
        "mcp-cli serve, 2025-11-25": ([MCP_CLI, "serve", "-p", "0"], {}),
        "mcp-cli serve, 2026-07-28": ([MCP_CLI, "serve", "-p", "0"], {"ERA": "new"}),
        "mcp-cli serve, with RS256": (key_pair, {"TOKEN": token}),
    }
    best = dict.fromkeys(servers, (0, float("inf")))
    for _ in range(ROUNDS):
        for name, (command, environment) in servers.items():
            with running(*command) as (url, _):
                wrk(url, "-c16", seconds=1, **environment)
                rate, _, _ = wrk(url, "-c16", **environment)
                _, median, _ = wrk(url, "-c1", seconds=2, **environment)
                best[name] = max(best[name][0], rate), min(best[name][1], median)
    axum_rate, axum_median = best["raw axum, constant bytes"]
    print(f"{'tools/call':30}{'16 connections':>20}{'one at a time':>22}")
    for name, (rate, median) in best.items():
        print(f"{name:30}{rate:10.0f}/s  {rate / axum_rate:5.2f} x{median:14.0f} us {median / axum_median:5.2f} x")
    plain, bearer = best["mcp-cli serve, 2025-11-25"][0], best["mcp-cli serve, with RS256"][0]
    print(f"with a token on every call: {bearer / plain:.2f} x without")


def fastmcp():
    try:
        import fastmcp  # noqa: F401
    except ImportError:
        return print("fastmcp is not installed: no reference of it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dice = os.path.join(HERE, "..", "tests", "interop", "dice.py")
    with running(sys.executable, dice, str(port)) as (url, pid):
        import time

        time.sleep(1)
        ended = subprocess.run(
            [sys.executable, "-c", FASTMCP_CALLS, url], capture_output=True, text=True, check=True, env=ENVIRONMENT
        )
        print(f"FastMCP, one session: {ended.stdout.strip()} calls/s, {memory(pid):.0f} MB")


FASTMCP_CALLS = """
import asyncio, sys, time
from fastmcp import Client
async def main():
    async with Client(sys.argv[1]) as client:
        started = time.perf_counter()
        for _ in range(300):
            await client.call_tool("roll_dice", {"n_dice": 3})
        print(f"{300 / (time.perf_counter() - started):.0f}")
asyncio.run(main())
"""


def memories():
    with running(MCP_CLI, "serve", "-p", "0") as (url, pid):
        idle = memory(pid)
        wrk(url, "-c256", seconds=3)
        busy = memory(pid)
        print(f"memory: idle {idle:.1f} MB, at 256 connections {busy:.1f} MB")
        sizes, count = [], 0
        while count < 100_000:
            *_, answered = wrk(url, "-c16", seconds=1, INITIALIZE="1")
            count += answered
            sizes.append(memory(pid))
        print(f"memory over {count} initialize requests: {sizes[0]:.1f} to {sizes[-1]:.1f} MB")


if __name__ == "__main__":
    memories()
    calls()
    fastmcp()
