"""`mcp-cli check` on real servers: those that are well, and those with one fault."""

import contextlib
import json
import re
import shutil
import sys

import httpx2
from cryptography import x509

from certificates import YESTERDAY
from gateway import UNAUTHORIZED
from interop import HERE, NODE_FOLDER, fastmcp_server, our_server, run, started, token
from proxy import tls_proxy


def check(url, *args, status=0, **environment):
    """What stdout gets."""
    command = ["check", "--server-url", url, "--server-label", "dice_server", *args]
    return run(*command, status=status, **environment).stdout


def steps(url, *args, **more):
    """The steps by their ids."""
    return {step["id"]: step for step in json.loads(check(url, "--json", *args, **more))["steps"]}


def failed(taken):
    return [step["id"] for step in taken.values() if step["outcome"] == "fail"]


def assert_healthy(url, *args, **environment):
    report = json.loads(check(url, "--json", *args, **environment))
    assert report["verdict"] == {"status": 200, "tools": 1, "error": None, "emulated": True}, report
    assert check(url, *args, **environment).endswith("\nlisted 1 tool, once it can reach the server\n")


def python_server(kind):
    return started(sys.executable, HERE / "sdk_server.py", kind)


def typescript_server(kind):
    return started(NODE_FOLDER / "node_modules/.bin/node", shutil.copy(HERE / "sdk_server.mjs", NODE_FOLDER), kind)


def test_check_finds_fastmcps_server_healthy():
    with fastmcp_server() as url:
        assert_healthy(url)
        call = steps(url, "--call", "roll_dice", "n_dice=5")["call"]
        assert call["outcome"] == "pass" and len(json.loads(call["note"])) == 5, call


def test_check_without_a_token_ends_with_the_424_of_the_page_and_names_the_fix():
    public_key = run("-q", "token", "public-key").stdout
    with fastmcp_server(public_key) as url:
        assert check(url, status=6).endswith(f"\nHTTP 424\n{json.dumps(UNAUTHORIZED, indent=2)}\n")
        refused = steps(url, status=6)
        assert failed(refused) == ["credentials"], refused
        # This server is not the program's own, so the hint does not advise to mint one of its tokens.
        assert refused["credentials"]["hint"] == "pass a token that the server accepts with --authorization @FILE", refused
        good = ["--authorization", token("--audience", "dice-server")]
        assert_healthy(url, *good)
        assert steps(url, *good, "--call", "roll_dice", "n_dice=5")["call"]["outcome"] == "pass"


def test_check_says_what_is_wrong_with_a_token_that_fastmcp_refuses():
    public_key = run("-q", "token", "public-key").stdout
    with fastmcp_server(public_key) as url:
        for bad, told in [
            (token("--audience", "other"), 'the token is for the audience "other"'),
            (token("--audience", "dice-server", "--expires-in", "0s"), "the token expired "),
        ]:
            refused = steps(url, "--authorization", bad, status=6)
            assert failed(refused) == ["credentials"], refused
            assert told in refused["credentials"]["cause"], refused


def test_check_finds_the_servers_of_both_sdks_healthy():
    for server in [python_server, typescript_server]:
        with server("stateless") as url:
            assert_healthy(url)
            assert steps(url, "--call", "roll_dice", "n_dice=5")["call"]["outcome"] == "pass"


def test_check_warns_where_typescripts_server_demands_its_session():
    with typescript_server("stateful") as url:
        session = steps(url)["session"]
        assert session["outcome"] == "warn" and "HTTP 400 Bad Request" in session["cause"], session
        assert "stateless" in session["hint"], session


def test_check_passes_pythons_server_with_sessions_for_its_newest_mcp_has_none():
    with python_server("stateful") as url:
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        answer = httpx2.post(url, json=request, headers={"Accept": "application/json, text/event-stream"})
        assert answer.status_code == 400, answer.text
        session = steps(url)["session"]
        assert (session["outcome"], session["note"]) == ("pass", "MCP 2026-07-28 has none"), session


def test_check_and_tools_list_name_the_same_tools():
    for server in [python_server, typescript_server]:
        with server("stateless") as url:
            listed = json.loads(run("tools", "list", "--json", "--server-url", url).stdout)
            named = ", ".join(tool["name"] for tool in listed)
            assert named == "roll_dice", listed
            # A tool that is not there is what `check` names the others for.
            call = steps(url, "--call", "roll_cubes", status=6)["call"]
            assert call["hint"] == f"the tools are `{named}`", call


def test_check_warns_of_a_name_that_pythons_server_does_not_know():
    with python_server("stateless") as url:
        host = steps(url)["host"]
        assert host["outcome"] == "warn" and "HTTP 421 Misdirected Request" in host["cause"], host


def test_check_warns_where_pythons_server_speaks_the_transport_of_2024():
    with python_server("sse") as url:
        found = steps(url, "--call", "roll_dice", "n_dice=5")
        assert found["path"]["outcome"] == "warn" and "HTTP+SSE" in found["path"]["cause"], found
        assert found["tools_list"]["outcome"] == "pass" and found["call"]["outcome"] == "pass", found


def test_check_fails_on_fastmcps_redirect_of_the_slash():
    with fastmcp_server() as url:
        refused = steps(url + "/", status=6)
        assert failed(refused) == ["path"], refused
        assert "HTTP 307 Temporary Redirect" in refused["path"]["cause"], refused
        assert f"use the URL {url}," in refused["path"]["hint"], refused
        assert steps(url)["path"]["outcome"] == "warn"


def test_check_of_our_server_takes_less_than_a_second():
    for options, args in [
        ([], []),
        (["--sessions"], []),
        (["--auth"], ["--authorization", token("--audience", "dice-server")]),
    ]:
        with our_server(*options) as url:
            assert_healthy(url, *args)
            # Many of them are taken at once, so that it is over even sooner.
            took = sum(step["duration_ms"] for step in steps(url, *args).values())
            assert 0 < took < 1000, took


def test_check_fails_on_a_get_that_nginx_holds_back():
    with typescript_server("stateless") as backend:
        for buffering, expected in [("off", []), ("on", ["get"])]:
            with tls_proxy(backend, "dice.example", buffering) as (url, authority):
                status = 6 if expected else 0
                taken = steps(url, "--timeout", "2s", status=status, SSL_CERT_FILE=str(authority))
                assert failed(taken) == expected, taken


@contextlib.contextmanager
def behind_nginx(**certificate):
    """The URL of our server behind nginx, and the environment of those who know its authority."""
    with our_server("--allowed-host", "dice.example") as backend:
        with tls_proxy(backend, "dice.example", **certificate) as (url, authority):
            yield url, {"SSL_CERT_FILE": str(authority)}


def test_check_believes_nginx_a_certificate_of_an_authority_that_is_known():
    with behind_nginx() as (url, trusting):
        assert_healthy(url, **trusting)
        tls = steps(url, **trusting)["tls"]
        assert tls["outcome"] == "pass" and re.fullmatch(r"TLS 1\.[23]", tls["note"]), tls


def test_check_says_why_it_does_not_believe_nginxs_certificate():
    for certificate, knows, told in [
        ({"expires": YESTERDAY}, True, "the certificate has expired: "),
        ({"name": x509.DNSName("other.example")}, True, "the certificate is for another name: "),
        ({}, False, "the certificate is not from a trusted authority: "),
    ]:
        with behind_nginx(**certificate) as (url, trusting):
            refused = steps(url, status=6, **(trusting if knows else {}))
            assert failed(refused) == ["tls"], refused
            assert refused["tls"]["cause"].startswith(told), refused
