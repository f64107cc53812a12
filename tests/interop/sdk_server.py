"""The dice server, made with the official Python SDK. Usage: sdk_server.py PORT stateless|stateful|sse"""

import random
import sys

from mcp.server.mcpserver import MCPServer

mcp = MCPServer(name="Dice Roller")


@mcp.tool()
def roll_dice(n_dice: int) -> list[int]:
    """Roll `n_dice` 6-sided dice and return the results."""
    return [random.randint(1, 6) for _ in range(n_dice)]


if __name__ == "__main__":
    port, kind = int(sys.argv[1]), sys.argv[2]
    if kind == "sse":
        mcp.run("sse", port=port, sse_path="/mcp")
    else:
        mcp.run("streamable-http", port=port, stateless_http=kind == "stateless")
