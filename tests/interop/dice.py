"""FastMCP's dice server, as its integration page has it. Usage: dice.py PORT [PUBLIC_KEY_FILE]"""

import random
import sys

from fastmcp import FastMCP
from fastmcp.server.auth import JWTVerifier

auth = None
if len(sys.argv) > 2:
    with open(sys.argv[2], encoding="ascii") as file:
        auth = JWTVerifier(public_key=file.read(), audience="dice-server")

mcp = FastMCP(name="Dice Roller", auth=auth)


@mcp.tool
def roll_dice(n_dice: int) -> list[int]:
    """Roll `n_dice` 6-sided dice and return the results."""
    return [random.randint(1, 6) for _ in range(n_dice)]


if __name__ == "__main__":
    mcp.run(transport="http", port=int(sys.argv[1]), show_banner=False)
