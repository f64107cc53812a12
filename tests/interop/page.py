"""The client of FastMCP's page, with nothing changed but its base URL, against the gateway."""

import openai
from fastmcp.server.auth.providers.jwt import RSAKeyPair
from openai import OpenAI

from gateway import API_KEY, UNAUTHORIZED, assert_rolled, bearer, gateway, refused
from interop import fastmcp_server, our_server, token


def ask_as_the_page_does(base_url, url, **headers):
    client = OpenAI(base_url=base_url, api_key=API_KEY)
    resp = client.responses.create(
        model="gpt-4.1",
        tools=[
            {
                "type": "mcp",
                "server_label": "dice_server",
                "server_url": f"{url}/mcp/",
                "require_approval": "never",
                **headers,
            },
        ],
        input="Roll a few dice!",
    )
    return resp.output_text


def test_the_client_of_the_page_rolls_dice():
    with gateway() as base_url:
        with fastmcp_server() as url:
            assert_rolled(ask_as_the_page_does(base_url, url.removesuffix("/mcp")))
        with our_server() as url:
            assert_rolled(ask_as_the_page_does(base_url, url.removesuffix("/mcp")))


def assert_only_the_token_opens(base_url, url, access_token):
    url = url.removesuffix("/mcp")
    for headers in [{}, bearer("nonsense"), bearer(access_token + "x")]:
        error = refused(openai.APIStatusError, ask_as_the_page_does, base_url, url, **headers)
        assert error.status_code == 424 and error.response.json() == UNAUTHORIZED, error.response.text
        assert str(error) == f"Error code: 424 - {UNAUTHORIZED['error']['message']}", error
    assert_rolled(ask_as_the_page_does(base_url, url, **bearer(access_token)))


def test_the_client_of_the_page_meets_its_424_and_rolls_with_the_header():
    key_pair = RSAKeyPair.generate()
    with gateway() as base_url:
        with fastmcp_server(key_pair.public_key) as url:
            assert_only_the_token_opens(base_url, url, key_pair.create_token(audience="dice-server"))
        with our_server("--auth") as url:
            assert_only_the_token_opens(base_url, url, token("--audience", "dice-server"))


def test_a_place_that_nobody_may_name_is_reported_as_openai_reports_it():
    with gateway() as base_url, our_server() as url:
        url = url.removesuffix("/mcp")
        assert_rolled(ask_as_the_page_does(base_url, url))
        # Both would lead to this machine, and the server there answers.
        for place in ["0.0.0.0", "user:password@127.0.0.1"]:
            elsewhere = url.replace("127.0.0.1", place)
            error = refused(openai.APIStatusError, ask_as_the_page_does, base_url, elsewhere)
            assert error.status_code == 424 and "Http status code: 400 (Bad Request)" in error.body["message"], error
