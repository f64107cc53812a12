"""How fast mcp-cli starts, and how small its server is, beside references measured in the same run.

Usage: benches/startup.py [PATH_OF_MCP_CLI]   (default: target/release/mcp-cli)

Machines are noisy, so look at the ratios. Each figure is the best of several runs.
"""

import os
import signal
import subprocess
import sys
import time

MCP_CLI = sys.argv[1] if len(sys.argv) > 1 else "target/release/mcp-cli"
RUNS = 20


def run_time(*command):
    def once():
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        return time.perf_counter() - started

    return min(once() for _ in range(RUNS)) * 1000


def server(command, is_ready):
    """Milliseconds until the server says that it is ready, and its resident memory then, in MB."""
    best = None
    for _ in range(RUNS if command[0] == MCP_CLI else 3):
        started = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in process.stderr:
            if is_ready in line:
                break
        took = (time.perf_counter() - started) * 1000
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            [memory] = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")]
        process.send_signal(signal.SIGTERM)
        process.wait()
        best = min(best or (took, memory), (took, memory))
    return best


def main():
    size = os.path.getsize(MCP_CLI) / 1024 / 1024
    print(f"binary                     {size:8.1f} MB")
    nothing = run_time("true")
    print(f"true                       {nothing:8.1f} ms")
    for arguments in [["--version"], ["ask", "--local", "Roll a few dice!"]]:
        took = run_time(MCP_CLI, *arguments)
        print(f"mcp-cli {arguments[0]:18} {took:8.1f} ms  ({took / nothing:.1f} x true)")
    python = run_time(sys.executable, "-c", "pass")
    print(f"python -c pass             {python:8.1f} ms  ({python / nothing:.1f} x true)")

    took, memory = server([MCP_CLI, "serve", "-p", "0"], "listening on ")
    print(f"mcp-cli serve, ready       {took:8.1f} ms  {memory:6.1f} MB")
    try:
        import fastmcp  # noqa: F401
    except ImportError:
        print("fastmcp is not installed: no reference for serve")
        return
    dice = os.path.join(os.path.dirname(__file__), "..", "tests", "interop", "dice.py")
    took, memory = server([sys.executable, dice, "0"], "Uvicorn running")
    print(f"FastMCP, ready             {took:8.1f} ms  {memory:6.1f} MB")


if __name__ == "__main__":
    main()
