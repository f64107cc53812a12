"""An upstream that costs next to nothing: the Responses API with two canned streams, for benches/gateway.py.

It answers a question with a call of `roll_dice`, and what came of the call with a message. As servers that stream do, it
ends the chunks by themselves, after the last event. GET gives the last two bodies that it was sent, and over how many
connections.
"""

import collections
import contextlib
import json
import re
import socket
import sys
import threading

CALL = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "roll_dice",
        "arguments": '{"n_dice":3}'}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
           "content": [{"type": "output_text", "text": "word " * 20, "annotations": [], "logprobs": []}]}


def sse(item):
    """A streamed response of one item, as api.openai.com sends it."""
    response = {
        "id": "resp_1", "object": "response", "created_at": 0, "status": "in_progress", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "m", "output": [],
        "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": None,
    }
    usage = {"input_tokens": 90, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
             "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110}
    of_item = {"item_id": item["id"], "output_index": 0}
    begun = {**item, "status": "in_progress"}
    if item["type"] == "function_call":
        begun["arguments"] = ""
        of_call = "response.function_call_arguments"
        parts = [{"type": f"{of_call}.delta", "delta": item["arguments"], "obfuscation": "x" * 8, **of_item},
                 {"type": f"{of_call}.done", "name": item["name"], "arguments": item["arguments"], **of_item}]
    else:
        begun["content"] = []
        of_item["content_index"] = 0
        [part] = item["content"]
        delta = {"type": "response.output_text.delta", "delta": "word ", "logprobs": [], "obfuscation": "x" * 11, **of_item}
        parts = [{"type": "response.content_part.added", "part": {**part, "text": ""}, **of_item},
                 *[delta] * (len(part["text"]) // len("word ")),
                 {"type": "response.output_text.done", "text": part["text"], "logprobs": [], **of_item},
                 {"type": "response.content_part.done", "part": part, **of_item}]
    events = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        *parts,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**response, "status": "completed", "output": [item], "usage": usage}},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in numbered)


def stream(item):
    """The head and the events, in one chunk."""
    events = sse(item)
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return f"{head}{len(events):x}\r\n{events}\r\n".encode()


STREAMED_CALL, STREAMED_MESSAGE = stream(CALL), stream(MESSAGE)
LAST_CHUNK = b"0\r\n\r\n"
bodies = collections.deque(maxlen=2)
connections = 0


def receive(connection):
    """The head and the body of one HTTP message; chunks stay as they are."""
    message = b""
    while (end := message.find(b"\r\n\r\n")) < 0:
        message += more(connection)
    head, body = message[:end], bytearray(message[end + 4 :])
    if length := re.search(rb"(?i)content-length: *(\d+)", head):
        while len(body) < int(length[1]):
            body += more(connection)
    elif b"transfer-encoding: chunked" in head:
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += more(connection)
    return head, bytes(body)


def more(connection):
    received = connection.recv(1 << 20)
    if not received:
        raise ConnectionError("the other side closed the connection")
    return received


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Whoever has read the last event may close before the last chunk.
    with connection, contextlib.suppress(ConnectionError):
        while True:
            head, body = receive(connection)
            if head.startswith(b"GET"):
                told = json.dumps({"bodies": [body.decode() for body in bodies], "connections": connections})
                connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {len(told)}\r\n\r\n{told}".encode())
                continue
            has_called = body.rfind(b'"function_call_output"') > body.rfind(b'"role":"user"')
            bodies.append(body)
            connection.sendall(STREAMED_MESSAGE if has_called else STREAMED_CALL)
            connection.sendall(LAST_CHUNK)


def main():
    global connections
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}/v1", file=sys.stderr, flush=True)
        try:
            while True:
                connection, _ = listener.accept()
                connections += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
