"""`mcp-cli gateway`, with what its clients need to ask it."""

import contextlib
import json
import re
import subprocess
import tempfile
import threading

import openai

from interop import ENVIRONMENT, MCP_CLI
from wire import relayed

API_KEY = "sk-of-the-gateway"
UNAUTHORIZED = {
    "error": {
        "message": "Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)",
        "type": "external_connector_error",
        "param": "tools",
        "code": "http_error",
    }
}
DENIED = "I did not call `roll_dice`, because the call was not approved."


@contextlib.contextmanager
def gateway(model="rules", *options):
    """The base URL of a gateway. What it says must be valid, and no key or token must be in what it logs."""
    with tempfile.NamedTemporaryFile("w") as key:
        key.write(API_KEY)
        key.flush()
        command = [MCP_CLI, "gateway", "-p", "0", "--model", model, "--api-key-file", key.name, "--log-level", "trace"]
        server = subprocess.Popen([*command, *options], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        try:
            told = []
            for line in server.stderr:
                told.append(line)
                if line.startswith("listening on "):
                    break
            else:
                raise AssertionError("".join(told))
            # Somebody must read on, or the gateway would come to wait for room.
            reading = threading.Thread(target=told.extend, args=[server.stderr], daemon=True)
            reading.start()
            with relayed(line.removeprefix("listening on ").strip()) as base_url:
                yield base_url
        finally:
            server.terminate()
            assert server.wait(30) == 0, "the gateway did not end well"
        reading.join()
        # All tokens here are JWTs, which begin alike.
        assert not re.search(f"{API_KEY}|eyJ", "".join(told)), told


@contextlib.contextmanager
def script(*steps):
    """The value of `--model` for these steps."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(steps, file)
        file.flush()
        yield f"script:{file.name}"


def dice_tool(url, require_approval="never", **more):
    """The tool entry of the page."""
    return {
        "type": "mcp",
        "server_label": "dice_server",
        "server_url": url,
        "require_approval": require_approval,
        **more,
    }


def bearer(access_token):
    return {"headers": {"Authorization": f"Bearer {access_token}"}}


def answer(request, approve):
    return {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": approve}


def strict(base_url, api_key=API_KEY):
    return openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, _strict_response_validation=True)


def create(client, tools, **more):
    return client.responses.create(**{"model": "gpt-4.1", "tools": tools, "input": "Roll 3 dice", **more})


def types(items):
    return [item.type for item in items]


def assert_rolled(text, n_dice=3):
    pattern = rf"You rolled {n_dice} dice and got the following results: ([1-6], ){{{n_dice - 1}}}and [1-6]!"
    assert re.fullmatch(pattern, text), text


def refused(error_class, call, *args, **kwargs):
    """The error that the call must end with."""
    try:
        call(*args, **kwargs)
    except openai.APIError as error:
        assert type(error) is error_class, repr(error)
        return error
    raise AssertionError("it was not refused")
