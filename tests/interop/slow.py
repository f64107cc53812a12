"""A server with a tool that takes its time. Usage: slow.py PORT"""

import asyncio
import sys

from fastmcp import FastMCP

mcp = FastMCP(name="Slow")


@mcp.tool
async def wait(seconds: float) -> str:
    """Wait for some seconds."""
    await asyncio.sleep(seconds)
    return "done"


if __name__ == "__main__":
    mcp.run(transport="http", port=int(sys.argv[1]), show_banner=False)
