"""openai-python against the gateway: responses in the background, after the gateway was started again, and over a
WebSocket."""

import pathlib
import tempfile
import time

import openai

from gateway import (
    UNAUTHORIZED, answer, assert_rolled, create, dice_tool, gateway, refused, script, strict, types,
)
from interop import fastmcp_server, our_server


def wait_until_done(client, response):
    deadline = time.monotonic() + 20
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline, response
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


def test_a_response_in_the_background_is_polled():
    with gateway() as base_url, our_server() as url, our_server("--auth") as closed:
        client = strict(base_url)
        made = create(client, [dice_tool(url)], background=True)
        assert made.status in ("queued", "in_progress") and made.background, made
        done = wait_until_done(client, made)
        assert done.status == "completed" and done.background, done
        assert_rolled(done.output_text)
        failed = wait_until_done(client, create(client, [dice_tool(closed)], background=True))
        assert failed.status == "failed" and failed.error.message == UNAUTHORIZED["error"]["message"], failed
        refused(openai.BadRequestError, create, client, [dice_tool(url)], background=True, store=False)


def test_a_response_in_the_background_is_streamed_again_from_any_event():
    with gateway() as base_url, our_server() as url:
        client = strict(base_url)
        stream = create(client, [dice_tool(url)], background=True, stream=True)
        first = next(stream)
        assert first.type == "response.created" and first.response.background, first
        second = next(stream)
        stream.close()
        rest = list(client.responses.retrieve(first.response.id, stream=True, starting_after=second.sequence_number))
        assert rest[0].sequence_number == second.sequence_number + 1, rest[0]
        assert rest[-1].type == "response.completed", rest[-1]
        assert_rolled(rest[-1].response.output_text)
        whole = list(client.responses.retrieve(first.response.id, stream=True))
        assert whole == [first, second, *rest]
        with client.responses.stream(response_id=first.response.id, starting_after=second.sequence_number) as again:
            assert_rolled(again.get_final_response().output_text)


def test_a_response_in_the_background_is_cancelled():
    step = {"calls": [{"name": "wait", "arguments": {"seconds": 30}}]}
    with script(step) as model, gateway(model) as base_url, fastmcp_server(program="slow.py") as url:
        client = strict(base_url)
        made = create(client, [dice_tool(url)], background=True)
        time.sleep(0.5)
        assert client.responses.cancel(made.id).status == "cancelled"
        assert client.responses.retrieve(made.id).status == "cancelled"
        stream = create(client, [dice_tool(url)], background=True, stream=True)
        begun = next(stream).response
        assert client.responses.cancel(begun.id).status == "cancelled"
        # Who follows it is not left to wait.
        assert "response.completed" not in types(stream)
        # To cancel is idempotent.
        assert client.responses.cancel(made.id).status == "cancelled"
        refused(openai.NotFoundError, client.responses.cancel, "resp_no")
        plain = create(client, [], input="Hello")
        refused(openai.BadRequestError, client.responses.cancel, plain.id)


def test_an_approval_is_given_after_the_gateway_was_started_again():
    with tempfile.TemporaryDirectory() as folder, our_server() as url:
        tools, options = [dice_tool(url, "always")], ["--store", str(pathlib.Path(folder) / "responses")]
        with gateway("rules", *options) as base_url:
            asked = create(strict(base_url), tools)
        with gateway("rules", *options) as base_url:
            client = strict(base_url)
            assert client.responses.retrieve(asked.id) == asked
            question = client.responses.input_items.list(asked.id).data[0]
            assert question.content[0].text == "Roll 3 dice", question
            approval = [answer(asked.output[-1], True)]
            answered = create(client, tools, previous_response_id=asked.id, input=approval)
            assert_rolled(answered.output_text)
            client.responses.delete(asked.id)
        with gateway("rules", *options) as base_url:
            client = strict(base_url)
            refused(openai.NotFoundError, client.responses.retrieve, asked.id)
            assert client.responses.retrieve(answered.id) == answered


def read_response(connection):
    """The events up to the end of the response."""
    events = []
    for event in connection:
        events.append(event)
        if event.type in ("response.completed", "response.failed", "response.incomplete", "error"):
            return events
    raise AssertionError(f"the connection was closed: {events}")


def test_a_websocket_takes_one_question_after_the_other():
    with gateway() as base_url, our_server() as url:
        client, tools = strict(base_url), [dice_tool(url, "always")]
        with client.responses.connect() as connection:
            connection.response.create(model="gpt-4.1", tools=tools, input="Roll 3 dice")
            asked = read_response(connection)
            assert types(asked[:2]) == ["response.created", "response.in_progress"], types(asked)
            request = asked[-1].response.output[-1]
            connection.response.create(model="gpt-4.1", previous_response_id="resp_no", input="Hello")
            [error] = read_response(connection)
            assert (error.status, error.error.code) == (400, "previous_response_not_found"), error
            connection.response.create(
                model="gpt-4.1", tools=tools, previous_response_id=asked[-1].response.id, input=[answer(request, True)]
            )
            assert_rolled(read_response(connection)[-1].response.output_text)
            closing = time.monotonic()
        # The client waits for 10 seconds if nobody answers that it closes.
        assert time.monotonic() - closing < 5


def test_a_websocket_keeps_for_itself_what_is_not_stored():
    with gateway() as base_url, our_server() as url:
        client, tools = strict(base_url), [dice_tool(url, "always")]
        with client.responses.connect() as connection, client.responses.connect() as other:
            connection.response.create(model="gpt-4.1", tools=tools, store=False, input="Roll 3 dice")
            asked = read_response(connection)[-1].response
            more = {"model": "gpt-4.1", "tools": tools, "store": False, "previous_response_id": asked.id}
            approval = [answer(asked.output[-1], True)]
            other.response.create(**more, input=approval)
            assert read_response(other)[-1].error.code == "previous_response_not_found"
            connection.response.create(**more, input=approval)
            assert_rolled(read_response(connection)[-1].response.output_text)
        refused(openai.NotFoundError, client.responses.retrieve, asked.id)
