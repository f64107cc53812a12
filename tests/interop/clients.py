"""The clients that people have for the Responses API, each against `mcp-cli gateway`, over real connections, with every
answer and every event held against the schema of the API. Usage: clients.py PATH_OF_MCP_CLI NODE_FOLDER

NODE_FOLDER has the packages openai, ws, ai and @ai-sdk/openai of npm in its node_modules, and a node.
"""

import shutil
import subprocess
import sys

import openai_agents
import openai_later
import openai_python
import page
from gateway import API_KEY, gateway
from interop import ENVIRONMENT, HERE, NODE_FOLDER, main, our_server, token


def run_in_node(script):
    script = shutil.copy(HERE / script, NODE_FOLDER)
    with gateway() as base_url, our_server() as url, our_server("--auth") as closed:
        ended = subprocess.run(
            [NODE_FOLDER / "node_modules/.bin/node", script, base_url, API_KEY, url, closed, token("--audience", "dice-server")],
            env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_openai_node_does_all_of_it():
    run_in_node("openai.mjs")


def test_the_ai_sdk_does_all_of_it():
    run_in_node("vercel.mjs")


if __name__ == "__main__":
    cases = vars(page) | vars(openai_python) | vars(openai_later) | vars(openai_agents)
    sys.exit(main("clients", cases | globals()))
