"""A relay in front of a server of the Responses API: it passes on every byte as it is, and what the server said is then
held against the schema of the API."""

import contextlib
import http.client
import io
import json
import pathlib
import socket
import socketserver
import threading
import urllib.parse

from jsonschema import Draft202012Validator
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side

SCHEMA = json.loads(
    (pathlib.Path(__file__).parents[2] / "fixtures/contract/responses.wire.schema.json").read_text(encoding="utf-8")
)


def validator(name):
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})


def event_validators():
    """What each type of event must be; the schema of all of them would only say that none of a hundred fits."""
    found = {}
    for name, definition in SCHEMA["$defs"].items():
        types = definition.get("properties", {}).get("type", {}).get("enum", [])
        if name.endswith("Event") and len(types) == 1:
            found.setdefault(types[0], validator(name))
    return found | {"error": validator("ResponseErrorEvent")}


EVENTS = event_validators()
# The lists have one name for all: what is in them tells which one it is.
OBJECTS = {"response": validator("Response"), "response.input_tokens": validator("TokenCountsResource")}
ITEMS, MODELS = validator("ResponseItemList"), validator("ListModelsResponse")
REFUSAL, WEBSOCKET_REFUSAL = validator("ErrorResponse"), validator("ResponseWsError")


def check(against, value):
    for error in against.iter_errors(value):
        raise AssertionError(f"{list(error.absolute_path)}: {error.message[:300]}\nin {json.dumps(value)[:2000]}")


def check_object(status, value):
    if status >= 400:
        check(REFUSAL, value)
    elif value["object"] == "list":
        is_models = any(it.get("object") == "model" for it in value["data"])
        check(MODELS if is_models else ITEMS, value)
    elif value.get("deleted"):
        assert value == {"id": value["id"], "object": "response", "deleted": True}, value
    else:
        check(OBJECTS[value["object"]], value)


def check_numbers(events):
    """Each response is numbered from its first event on, which is not number 0 where a stream goes on."""
    last = None
    for event in events:
        number = event["sequence_number"]
        begins = last is None or event["type"] == "response.created"
        assert begins or number == last + 1, f"{number} comes after {last}"
        last = number


def check_events(text):
    events = []
    for block in filter(None, text.replace("\r\n", "\n").split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if not fields:
            continue
        event = json.loads(fields["data"])
        assert fields["event"] == event["type"], block
        check(EVENTS[event["type"]], event)
        events.append(event)
    check_numbers(events)
    return len(events)


def check_frames(data):
    """The events of a WebSocket; its errors have no number."""
    client = Protocol(Side.CLIENT)
    client.receive_data(data)
    frames = [frame for frame in client.events_received() if frame.opcode is Opcode.TEXT]
    said = [json.loads(frame.data) for frame in frames]
    for event in said:
        check(WEBSOCKET_REFUSAL if event["type"] == "error" else EVENTS[event["type"]], event)
    check_numbers([event for event in said if event["type"] != "error"])
    return len(said)


class Kept:
    """What a socket would give that had received these bytes."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def makefile(self, _mode):
        return self

    def __getattr__(self, name):
        return getattr(self.file, name)

    def close(self):
        """The next answer begins where this one ends."""


def check_connection(data):
    """How many answers and events are in what a server said on one connection; all of them are valid."""
    kept, checked = Kept(data), 0
    while kept.tell() < len(data):
        answer = http.client.HTTPResponse(kept)
        answer.begin()
        if answer.status == 101:
            return checked + check_frames(kept.read())
        try:
            body = answer.read()
        except http.client.IncompleteRead as hung_up:
            # The client did, in the midst of an event.
            body = hung_up.partial.rpartition(b"\n\n")[0]
        kind = answer.headers.get_content_type()
        if kind == "text/event-stream":
            checked += check_events(body.decode())
        elif body:
            assert kind == "application/json", (kind, body)
            check_object(answer.status, json.loads(body))
            checked += 1
    return checked


class Relay(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, target):
        super().__init__(("127.0.0.1", 0), Passing)
        self.target = target
        self.said = []


class Passing(socketserver.BaseRequestHandler):
    def handle(self):
        said = bytearray()
        self.server.said.append(said)
        with socket.create_connection(self.server.target) as server:
            asking = threading.Thread(target=pass_on, args=(self.request, server, bytearray()), daemon=True)
            asking.start()
            pass_on(server, self.request, said)
            asking.join(10)


def pass_on(source, sink, kept):
    """Passes bytes on until there are no more, and tells the other side so."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            kept += data
            sink.sendall(data)
    for end, how in [(sink, socket.SHUT_WR), (source, socket.SHUT_RD)]:
        with contextlib.suppress(OSError):
            end.shutdown(how)


@contextlib.contextmanager
def relayed(url):
    """A URL that leads to `url`. What was said by the time that it is done with must be something, and valid."""
    parts = urllib.parse.urlsplit(url)
    with Relay((parts.hostname, parts.port)) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{relay.server_address[1]}{parts.path}"
        finally:
            relay.shutdown()
    checked = sum(check_connection(bytes(said)) for said in relay.said)
    assert checked, "nothing was said"
