"""openai-agents against the gateway: its `HostedMCPTool`, and the ways in which it lets a call be approved."""

import contextlib

import openai
from agents import Agent, HostedMCPTool, OpenAIResponsesModel, RunConfig, Runner
from openai import AsyncOpenAI

from gateway import API_KEY, DENIED, UNAUTHORIZED, assert_rolled, bearer, dice_tool, gateway
from interop import our_server, token

# Its traces would go to api.openai.com.
NO_TRACES = RunConfig(tracing_disabled=True)


@contextlib.asynccontextmanager
async def dice_agent(base_url, tool, on_approval_request=None):
    async with AsyncOpenAI(
        base_url=base_url, api_key=API_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        yield Agent(
            name="Dice",
            model=OpenAIResponsesModel(model="gpt-4.1", openai_client=client),
            tools=[HostedMCPTool(tool_config=tool, on_approval_request=on_approval_request)],
        )


async def run(*args, **more):
    return await Runner.run(*args, run_config=NO_TRACES, **more)


async def stream(*args):
    """What the agent told while it ran, and the result."""
    result = Runner.run_streamed(*args, run_config=NO_TRACES)
    told = [event.name async for event in result.stream_events() if event.type == "run_item_stream_event"]
    return told, result


async def test_an_agent_calls_a_hosted_mcp_tool():
    with gateway() as base_url, our_server() as url:
        async with dice_agent(base_url, dice_tool(url)) as agent:
            result = await run(agent, "Roll 3 dice")
            assert_rolled(result.final_output)
            again = await run(agent, [*result.to_input_list(), {"role": "user", "content": "Roll 4 dice"}])
            assert_rolled(again.final_output, 4)
            chained = await run(agent, "Roll 5 dice", previous_response_id=result.last_response_id)
            assert_rolled(chained.final_output, 5)


async def test_an_agent_is_told_why_there_are_no_tools():
    with gateway() as base_url, our_server("--auth") as url:
        async with dice_agent(base_url, dice_tool(url)) as agent:
            try:
                await run(agent, "Roll 3 dice")
            except openai.APIStatusError as error:
                assert error.status_code == 424 and error.response.json() == UNAUTHORIZED, error
            else:
                raise AssertionError("the server was open")
            try:
                await stream(agent, "Roll 3 dice")
            except openai.APIError as error:
                assert error.message == UNAUTHORIZED["error"]["message"], error
            else:
                raise AssertionError("the server was open")
        good = bearer(token("--audience", "dice-server"))
        async with dice_agent(base_url, dice_tool(url, **good)) as agent:
            assert_rolled((await run(agent, "Roll 3 dice")).final_output)


async def test_an_agents_callback_approves_or_denies():
    decisions = [({"approve": True}, assert_rolled), ({"approve": False, "reason": "Not today"}, assert_denied)]
    with gateway() as base_url, our_server() as url:
        for decision, check in decisions:
            asked = []

            def decide(request, decision=decision, asked=asked):
                asked.append((request.data.server_label, request.data.name))
                return decision

            async with dice_agent(base_url, dice_tool(url, "always"), decide) as agent:
                check((await run(agent, "Roll 3 dice")).final_output)
                assert asked == [("dice_server", "roll_dice")], asked


def assert_denied(text):
    assert text == DENIED, text


async def test_an_agent_is_interrupted_and_resumed():
    with gateway() as base_url, our_server() as url:
        async with dice_agent(base_url, dice_tool(url, "always")) as agent:
            for chained in [False, True]:
                for approve in [True, False]:
                    result = await run(agent, "Roll 3 dice", auto_previous_response_id=chained)
                    [interruption] = result.interruptions
                    state = result.to_state()
                    if approve:
                        state.approve(interruption)
                        assert_rolled((await run(agent, state)).final_output)
                    else:
                        state.reject(interruption)
                        assert_denied((await run(agent, state)).final_output)


async def test_an_agent_streams():
    with gateway() as base_url, our_server() as url:
        async with dice_agent(base_url, dice_tool(url)) as agent:
            told, result = await stream(agent, "Roll 3 dice")
            assert told == ["mcp_list_tools", "tool_called", "message_output_created"], told
            assert_rolled(result.final_output)


async def test_an_agent_streams_up_to_an_approval_and_on():
    with gateway() as base_url, our_server() as url:
        async with dice_agent(base_url, dice_tool(url, "always")) as agent:
            told, result = await stream(agent, "Roll 3 dice")
            assert told == ["mcp_list_tools", "mcp_approval_requested"], told
            state = result.to_state()
            state.approve(result.interruptions[0])
            told, result = await stream(agent, state)
            assert told[-1] == "message_output_created", told
            assert_rolled(result.final_output)
