"""An upstream that costs next to nothing: the Responses API with two canned streams, for benches/gateway.py.

It answers a question with a call of `roll_dice`, and what came of the call with a message. GET gives the last two bodies
that it was sent.
"""

import collections
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


def http_answer(content_type, body):
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


CANNED_CALL, CANNED_MESSAGE = (http_answer("text/event-stream", sse(item)) for item in (CALL, MESSAGE))
asked = collections.deque(maxlen=2)


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
    while True:
        try:
            head, body = receive(connection)
        except ConnectionError:
            return
        if head.startswith(b"GET"):
            connection.sendall(http_answer("application/json", json.dumps([it.decode() for it in asked])))
            continue
        has_called = body.rfind(b'"function_call_output"') > body.rfind(b'"role":"user"')
        connection.sendall(CANNED_MESSAGE if has_called else CANNED_CALL)
        asked.append(body)


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}/v1", file=sys.stderr, flush=True)
        try:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
