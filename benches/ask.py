"""What `mcp-cli ask` costs against a constant local endpoint, beside curl and openai-python in the same run,
and how its cost grows with the answer.

Usage: benches/ask.py [PATH_OF_MCP_CLI]   (default: target/release/mcp-cli)

The endpoint answers every POST with the same bytes. Machines are noisy, so look at the ratios: each figure is the
best of several runs. openai-python is measured if it is installed.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time

MCP_CLI = sys.argv[1] if len(sys.argv) > 1 else "target/release/mcp-cli"
RUNS = 15
SMALL = 2_000

PYTHON = """
import sys
from openai import OpenAI
client = OpenAI(base_url=sys.argv[1], api_key="k", max_retries=0)
for event in client.responses.create(model="m", input="Go", stream=True):
    if event.type == "response.output_text.delta":
        print(event.delta, end="")
"""


def stream(size):
    """A streamed answer of about `size` bytes: deltas of a few words, then the whole text once more."""
    text = "word " * 8
    deltas = max(1, size // 330)
    events = [
        {"type": "response.created", "sequence_number": 0, "response": response([], "in_progress")},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": message(None)},
    ]
    for number in range(deltas):
        events.append({
            "type": "response.output_text.delta", "sequence_number": number + 2, "output_index": 0,
            "content_index": 0, "item_id": "msg_1", "delta": text, "logprobs": [], "obfuscation": "x" * 40,
        })
    whole = message(text * deltas)
    events.append({"type": "response.output_item.done", "sequence_number": deltas + 2, "output_index": 0, "item": whole})
    events.append({"type": "response.completed", "sequence_number": deltas + 3, "response": response([whole], "completed")})
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return body.encode()


def message(text):
    content = [] if text is None else [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}


def response(output, status):
    return {
        "id": "resp_1", "object": "response", "created_at": 0, "status": status, "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "m", "output": output,
        "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
    }


class Endpoint:
    """Answers each connection with the same bytes as soon as its request has been read."""

    def __init__(self, body):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.answer = head.encode() + body
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            [length] = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            while len(body) < length:
                body += connection.recv(65536)
            connection.sendall(self.answer)
            connection.close()


def start(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                            env={**os.environ, "OPENAI_API_KEY": "k"})


def seconds(command, runs=RUNS):
    """Wall time, the best of several runs."""
    def once():
        started = time.perf_counter()
        assert start(command).wait() == 0, f"{command[0]} failed"
        return time.perf_counter() - started

    return min(once() for _ in range(runs))


def memory(command):
    """The most resident memory in MB, as seen while the command runs (not ru_maxrss, which begins with ours)."""
    child = start(command)
    most = 0
    while child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status", encoding="ascii") as status:
                lines = dict(line.split(":", 1) for line in status)
            if lines["Name"].strip() == os.path.basename(command[0])[:15]:
                most = max(most, int(lines["VmHWM"].split()[0]) / 1024)
        except (OSError, KeyError):
            pass
    return most


def main():
    endpoint = Endpoint(stream(SMALL))
    ask = [MCP_CLI, "ask", "--base-url", endpoint.base_url, "-q", "Go"]
    curl = ["curl", "--silent", "--no-buffer", "--header", "Content-Type: application/json", "--header", "Authorization: Bearer k",
            "--data", '{"model":"gpt-5","input":"Go","stream":true}', f"{endpoint.base_url}/responses"]
    ask_seconds, curl_seconds = seconds(ask), seconds(curl)
    print(f"mcp-cli ask    {ask_seconds * 1000:8.1f} ms  {max(memory(ask) for _ in range(RUNS)):7.1f} MB")
    print(f"curl           {curl_seconds * 1000:8.1f} ms              ask is {ask_seconds / curl_seconds:.2f} x curl")
    try:
        import openai  # noqa: F401
    except ImportError:
        print("openai-python is not installed: no reference")
    else:
        python_seconds = seconds([sys.executable, "-c", PYTHON, endpoint.base_url], runs=3)
        print(f"openai-python  {python_seconds * 1000:8.1f} ms              it is {python_seconds / ask_seconds:.0f} x ask")

    print("\nthe answer      ask                                    curl")
    for megabytes in [1, 4, 16, 64]:
        body = stream(megabytes * 1024 * 1024)
        endpoint = Endpoint(body)
        ask[3] = endpoint.base_url
        curl[-1] = f"{endpoint.base_url}/responses"
        size = len(body) / 1024 / 1024
        milliseconds = seconds(ask, runs=3) * 1000
        curl_seconds = seconds(curl, runs=3)
        print(f"{size:6.1f} MB  {milliseconds:8.1f} ms  {milliseconds / size:5.2f} ms/MB  {memory(ask):7.1f} MB  {curl_seconds * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
