"""openai-python against the gateway: what is asked and answered at once, by both of its clients, with every answer held
against its own types."""

import asyncio

import openai
from openai import AsyncOpenAI
from openai.types.responses import ResponseCompletedEvent

from gateway import (
    API_KEY, DENIED, UNAUTHORIZED, answer, assert_rolled, bearer, create, dice_tool, gateway, refused, strict, types,
)
from interop import our_server, token


def test_a_response_is_kept_until_it_is_deleted():
    with gateway() as base_url, our_server() as url:
        client = strict(base_url)
        made = create(client, [dice_tool(url)], metadata={"k": "v"})
        assert_rolled(made.output_text)
        assert types(made.output) == ["mcp_list_tools", "mcp_call", "message"], made
        assert client.responses.retrieve(made.id) == made
        client.responses.delete(made.id)
        error = refused(openai.NotFoundError, client.responses.retrieve, made.id)
        assert made.id in error.message, error
        refused(openai.NotFoundError, client.responses.delete, made.id)
        not_kept = create(client, [dice_tool(url)], store=False)
        refused(openai.NotFoundError, client.responses.retrieve, not_kept.id)


def test_a_key_is_asked_for_and_no_secret_comes_back():
    access_token = token("--audience", "dice-server")
    with gateway() as base_url, our_server("--auth") as url:
        refused(openai.AuthenticationError, create, strict(base_url, "sk-other"), [dice_tool(url)])
        client = strict(base_url)
        for secret in [bearer(access_token), {"authorization": access_token}]:
            made = create(client, [dice_tool(url, **secret)])
            assert_rolled(made.output_text)
            kept = client.responses.retrieve(made.id)
            assert access_token not in made.to_json() + kept.to_json()


def test_what_cannot_be_asked_is_refused_in_openais_words():
    with gateway() as base_url, our_server() as url:
        client = strict(base_url)
        error = refused(openai.BadRequestError, create, client, [], previous_response_id="resp_no")
        assert (error.param, error.code) == ("previous_response_id", "previous_response_not_found"), error
        assert error.body["message"] == "Previous response with id 'resp_no' not found.", error
        choice = {"type": "mcp", "server_label": "other"}
        error = refused(openai.BadRequestError, create, client, [dice_tool(url)], tool_choice=choice)
        assert error.param == "tool_choice", error


def test_a_stream_tells_the_response_that_is_kept():
    with gateway() as base_url, our_server() as url:
        client = strict(base_url)
        events = list(create(client, [dice_tool(url)], stream=True))
        assert types(events[:2]) == ["response.created", "response.in_progress"], types(events)
        assert isinstance(events[-1], ResponseCompletedEvent), events[-1]
        told = events[-1].response
        assert_rolled(told.output_text)
        assert client.responses.retrieve(told.id) == told
        assert [event.sequence_number for event in events] == list(range(len(events)))
        with client.responses.stream(model="gpt-4.1", tools=[dice_tool(url)], input="Roll 4 dice") as stream:
            assert_rolled(stream.get_final_response().output_text, 4)


def test_a_stream_ends_with_the_error_of_the_page():
    with gateway() as base_url, our_server("--auth") as url:
        client = strict(base_url)
        error = refused(openai.APIError, lambda: list(create(client, [dice_tool(url)], stream=True)))
        assert error.message == UNAUTHORIZED["error"]["message"], error
        assert error.code == "http_error", error


def test_a_call_is_approved_or_denied_in_what_is_kept():
    with gateway() as base_url, our_server() as url:
        client, tools = strict(base_url), [dice_tool(url, "always")]
        for approve in [True, False]:
            asked = create(client, tools)
            assert types(asked.output) == ["mcp_list_tools", "mcp_approval_request"], asked
            request = asked.output[-1]
            answered = create(client, tools, previous_response_id=asked.id, input=[answer(request, approve)])
            if approve:
                assert types(answered.output) == ["mcp_call", "message"], answered
                assert answered.output[0].approval_request_id == request.id, answered
                assert_rolled(answered.output_text)
            else:
                assert types(answered.output) == ["message"] and answered.output_text == DENIED, answered
        error = refused(
            openai.BadRequestError, create, client, tools,
            previous_response_id=asked.id, input=[request, answer(request, True)],
        )
        assert error.body["message"] == (
            f"Duplicate item found with id {request.id}. Remove duplicate items from your input and try again."
        ), error


def test_a_call_is_approved_or_denied_in_what_is_sent_again():
    with gateway() as base_url, our_server() as url:
        client, tools = strict(base_url), [dice_tool(url, "always")]
        said = [{"role": "user", "content": "Roll 3 dice"}]
        asked = create(client, tools, store=False, input=said)
        request = asked.output[-1]
        said += asked.output
        for approve in [True, False]:
            answered = create(client, tools, store=False, input=[*said, answer(request, approve)])
            if approve:
                assert types(answered.output) == ["mcp_call", "message"], answered
                assert_rolled(answered.output_text)
            else:
                assert answered.output_text == DENIED, answered
        error = refused(openai.BadRequestError, create, client, tools, store=False, input=[answer(request, True)])
        assert "approval" in error.body["message"], error


def test_input_items_are_paged_in_both_orders():
    said = [{"role": "user", "content": f"Number {number}"} for number in range(5)]
    with gateway() as base_url, our_server() as url:
        client, tools = strict(base_url), [dice_tool(url, "always")]
        made = create(client, [], input=said)

        def texts(**query):
            return [item.content[0].text for item in client.responses.input_items.list(made.id, **query)]

        forward = [message["content"] for message in said]
        assert texts(limit=2, order="asc") == forward
        assert texts(limit=3) == forward[::-1]
        page = client.responses.input_items.list(made.id, limit=2, order="asc")
        assert page.has_more and len(page.data) == 2, page
        page = client.responses.input_items.list(made.id, limit=2, order="asc", after=page.data[-1].id)
        assert [item.content[0].text for item in page.data] == forward[2:4], page
        asked = create(client, tools)
        answered = create(client, tools, previous_response_id=asked.id, input=[answer(asked.output[-1], True)])
        items = list(client.responses.input_items.list(answered.id, order="asc"))
        assert items[-1].type == "mcp_approval_response" and items[-1].approve, items
        refused(openai.NotFoundError, client.responses.input_items.list, "resp_no")


def test_tokens_are_counted_and_models_are_listed():
    with gateway() as base_url:
        client = strict(base_url)
        few, many = [
            client.responses.input_tokens.count(model="gpt-4.1", input=text).input_tokens for text in ["Hi", "Hi " * 500]
        ]
        assert 0 < few < many, (few, many)
        models = list(client.models.list())
        assert models and all(model.object == "model" for model in models), models


async def use_the_async_client(base_url, url):
    async with AsyncOpenAI(
        base_url=base_url, api_key=API_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        question = {"model": "gpt-4.1", "tools": [dice_tool(url)], "input": "Roll 3 dice"}
        several = await asyncio.gather(*(client.responses.create(**question) for _ in range(8)))
        for made in several:
            assert_rolled(made.output_text)
        assert len({made.id for made in several}) == 8
        events = [event async for event in await client.responses.create(**question, stream=True)]
        assert_rolled(events[-1].response.output_text)
        async with client.responses.stream(**question, background=True) as stream:
            final = await stream.get_final_response()
        assert_rolled(final.output_text)
        rest = [event async for event in await client.responses.retrieve(final.id, stream=True, starting_after=1)]
        assert rest[0].sequence_number == 2 and rest[-1].type == "response.completed", types(rest)
        items = [item async for item in client.responses.input_items.list(final.id, limit=1)]
        assert types(items) == ["message"], items
        assert (await client.responses.input_tokens.count(model="gpt-4.1", input="Hi")).input_tokens > 0
        assert [model async for model in client.models.list()]
        await client.responses.delete(final.id)
        async with client.responses.connect() as connection:
            await connection.response.create(**question)
            async for event in connection:
                if event.type == "response.completed":
                    break
            assert_rolled(event.response.output_text)


async def answer_with_the_async_client(base_url, url):
    async with AsyncOpenAI(
        base_url=base_url, api_key=API_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        question = {"model": "gpt-4.1", "tools": [dice_tool(url, "always")]}
        asked = await client.responses.create(**question, input="Roll 3 dice")
        for approve in [True, False]:
            answered = await client.responses.create(
                **question, previous_response_id=asked.id, input=[answer(asked.output[-1], approve)]
            )
            if approve:
                assert_rolled(answered.output_text)
            else:
                assert answered.output_text == DENIED, answered


def test_the_async_client_does_all_of_it():
    with gateway() as base_url, our_server() as url:
        asyncio.run(use_the_async_client(base_url, url))
        asyncio.run(answer_with_the_async_client(base_url, url))


def test_a_client_that_hangs_up_hinders_nobody():
    with gateway() as base_url, our_server() as url:
        client = strict(base_url)
        for _ in range(20):
            stream = create(client, [dice_tool(url)], stream=True)
            next(stream)
            stream.close()
        assert_rolled(create(client, [dice_tool(url)]).output_text)
