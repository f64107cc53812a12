"""What `serve` adds in front of a server of the user's own, beside the same server asked directly.

Usage: benches/relay.py [PATH_OF_MCP_CLI [PATH_OF_UPSTREAMS]]
(default: target/release/mcp-cli and target/release/examples/upstreams; needs wrk)

The servers behind it take no time of their own (benches/upstreams.rs). Each figure is the best of its rounds, direct and
through the relay in turn. Machines are noisy, so look at the ratios.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile

MCP_CLI = sys.argv[1] if len(sys.argv) > 1 else "target/release/mcp-cli"
UPSTREAMS = sys.argv[2] if len(sys.argv) > 2 else "target/release/examples/upstreams"
CALL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "call.lua")
ROUNDS = 3
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


def drive(in_flight, *command):
    ended = subprocess.run([UPSTREAMS, "drive", "3", str(in_flight), *command], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    rate, median = ended.stdout.split()
    return float(rate), float(median)


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        [resident] = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")]
    return resident


def best(results):
    return max(rate for rate, _ in results), min(median for _, median in results)


def main():
    serve = [MCP_CLI, "serve", "-p", "0", "--no-banner"]
    rows = {}

    def keep(name, result):
        rows.setdefault(name, []).append(result)

    for _ in range(ROUNDS):
        for in_flight in [16, 1]:
            keep(("stdio, direct", in_flight), drive(in_flight, UPSTREAMS, "stdio"))
            with running(*serve, "--", UPSTREAMS, "stdio") as (url, pid):
                for era in ["old", "new"]:
                    keep((f"serve -- COMMAND, {era} era", in_flight), wrk(url, in_flight, era))
                resident = memory(pid)
            with running(UPSTREAMS, "http") as (direct, _), running(*serve, direct) as (url, _):
                keep(("HTTP, direct", in_flight), wrk(direct, in_flight, "old"))
                keep(("serve URL, old era", in_flight), wrk(url, in_flight, "old"))
                keep(("serve -t stdio URL", in_flight), drive(in_flight, MCP_CLI, "serve", "-t", "stdio", direct))
    print(f"{'':34}{'in flight':>10}{'calls/s':>10}{'of direct':>10}{'median':>10}{'added':>10}")
    for (name, in_flight), results in rows.items():
        rate, median = best(results)
        direct = "stdio, direct" if "COMMAND" in name or name == "stdio, direct" else "HTTP, direct"
        direct_rate, direct_median = best(rows[direct, in_flight])
        added = median - direct_median
        print(f"{name:34}{in_flight:>10}{rate:>10.0f}{rate / direct_rate:>10.2f}{median:>8.0f}us{added:>8.0f}us")
    print(f"memory of serve -- COMMAND after the calls: {resident:.1f} MB")


if __name__ == "__main__":
    main()
