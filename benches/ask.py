"""What `mcp-cli ask` costs against a constant local endpoint over http and https, beside curl and openai-python in the
same run, how its cost grows with the answer, and what large results and slow tools cost `ask --local`.

Usage: benches/ask.py [PATH_OF_MCP_CLI]   (default: target/release/mcp-cli; needs curl and openssl)

The endpoint answers every POST with the same bytes. Machines are noisy, so look at the ratios: each figure is the
best of several runs. openai-python is measured if it is installed.
"""

import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
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
    """Answers each connection with the same bytes as soon as its request has been read. With a certificate, over TLS."""

    def __init__(self, body, tls=None):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.answer = head.encode() + body
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.tls = tls
        scheme = "https" if tls else "http"
        self.base_url = f"{scheme}://127.0.0.1:{self.socket.getsockname()[1]}/v1"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            [length] = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            while len(body) < length:
                body += connection.recv(65536)
            connection.sendall(self.answer)
            connection.close()


class Tools(http.server.BaseHTTPRequestHandler):
    """An MCP server (2025-11-25) with two tools: `large_text` gives 20 MB, `wait` takes 200 ms."""

    protocol_version = "HTTP/1.1"
    LARGE = "x" * 20_000_000

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.answer(request)
        body = b"" if answer is None else json.dumps({"jsonrpc": "2.0", "id": request.get("id"), **answer}).encode()
        self.send_response(202 if answer is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, request):
        match request["method"]:
            case "initialize":
                return {"result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "bench", "version": "1"}}}
            case "tools/list":
                schema = {"type": "object", "properties": {}}
                annotations = {"readOnlyHint": True}
                names = [("large_text", "Get the large text"), ("wait", "Wait for 200 ms")]
                return {"result": {"tools": [{"name": name, "description": text, "inputSchema": schema, "annotations": annotations}
                                             for name, text in names]}}
            case "tools/call":
                if request["params"]["name"] == "wait":
                    time.sleep(0.2)
                text = self.LARGE if request["params"]["name"] == "large_text" else "done"
                return {"result": {"content": [{"type": "text", "text": text}]}}
            case method if method.startswith("notifications/"):
                return None
            case _:
                return {"error": {"code": -32601, "message": "Method not found"}}

    def log_message(self, *_):
        pass


def start(command, **variables):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                            env={**os.environ, "OPENAI_API_KEY": "k", **variables})


def seconds(command, runs=RUNS, **variables):
    """Wall time, the best of several runs."""
    def once():
        started = time.perf_counter()
        assert start(command, **variables).wait() == 0, f"{command[0]} failed"
        return time.perf_counter() - started

    return min(once() for _ in range(runs))


def memory(command, **variables):
    """The most resident memory in MB, as seen while the command runs (not ru_maxrss, which begins with ours)."""
    child = start(command, **variables)
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


def certificates(folder):
    """The TLS side of an endpoint on 127.0.0.1, and a file of the system's certificates and that of its CA."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=bench CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "key.pem", "-out", "cert.pem")
    trusted = os.path.join(folder, "trusted.pem")
    with open(trusted, "wb") as bundle:
        for path in [ssl.get_default_verify_paths().cafile, os.path.join(folder, "ca.pem")]:
            if path:
                with open(path, "rb") as certificate:
                    bundle.write(certificate.read())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
    return tls, trusted


def verdict(value, most, unit=""):
    return f"target: at most {most}{unit}{'' if value <= most else ', missed'}"


def whole_process(folder):
    """The time from start to end of `ask`, beside curl, over http and over https with the system's certificates and one more."""
    tls, trusted = certificates(folder)
    ask_http = None
    for scheme, certificate, most in [("http", None, 0.8), ("https", tls, 1.0)]:
        endpoint = Endpoint(stream(SMALL), certificate)
        ask = [MCP_CLI, "ask", "--base-url", endpoint.base_url, "-q", "Go"]
        curl = ["curl", "--silent", "--no-buffer", "--cacert", trusted, "--header", "Content-Type: application/json",
                "--header", "Authorization: Bearer k", "--data", '{"model":"gpt-5","input":"Go","stream":true}',
                f"{endpoint.base_url}/responses"]
        ask_seconds, curl_seconds = seconds(ask, SSL_CERT_FILE=trusted), seconds(curl)
        ask_http = ask_http or ask_seconds
        most_memory = max(memory(ask, SSL_CERT_FILE=trusted) for _ in range(RUNS))
        ratio = ask_seconds / curl_seconds
        print(f"{scheme:6} mcp-cli ask  {ask_seconds * 1000:6.1f} ms  {most_memory:5.1f} MB   curl {curl_seconds * 1000:6.1f} ms"
              f"   ask is {ratio:.2f} x curl ({verdict(ratio, most)})")
    try:
        import openai  # noqa: F401
    except ImportError:
        print("openai-python is not installed: no reference")
    else:
        endpoint = Endpoint(stream(SMALL))
        python_seconds = seconds([sys.executable, "-c", PYTHON, endpoint.base_url], runs=3)
        print(f"openai-python      {python_seconds * 1000:6.1f} ms   it is {python_seconds / ask_http:.0f} x ask")


def large_answers():
    print("\nthe answer      ask                                    curl")
    for megabytes in [1, 4, 16, 64]:
        body = stream(megabytes * 1024 * 1024)
        endpoint = Endpoint(body)
        ask = [MCP_CLI, "ask", "--base-url", endpoint.base_url, "-q", "Go"]
        curl = ["curl", "--silent", "--no-buffer", "--data", "{}", f"{endpoint.base_url}/responses"]
        size = len(body) / 1024 / 1024
        milliseconds = seconds(ask, runs=3) * 1000
        curl_seconds = seconds(curl, runs=3)
        print(f"{size:6.1f} MB  {milliseconds:8.1f} ms  {milliseconds / size:5.2f} ms/MB  {memory(ask):7.1f} MB  {curl_seconds * 1000:8.1f} ms")


def tools(folder):
    """`ask --local`: the memory that a large result takes, and the time of five slow calls in one step."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tools)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    local = [MCP_CLI, "ask", "--local", "-q", "--require-approval", "never", "--server-url", f"http://127.0.0.1:{server.server_port}/mcp"]
    most = memory([*local, "Get the large text"])
    print(f"\na result of 20 MB with the built-in model: {most:.0f} MB of memory ({verdict(most, 100, ' MB')})")

    def script(calls):
        path = os.path.join(folder, f"{calls}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump([{"calls": [{"name": "wait", "arguments": {}}] * calls}, {"say": "Done."}], file)
        return [*local, "--model", f"script:{path}", "Go"]

    one, five = seconds(script(1), runs=3), seconds(script(5), runs=3)
    print(f"five calls of 200 ms in one step take {five / one:.2f} x one ({verdict(five / one, 1.3)})")


def main():
    with tempfile.TemporaryDirectory() as folder:
        whole_process(folder)
        large_answers()
        tools(folder)


if __name__ == "__main__":
    main()
