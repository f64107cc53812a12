"""A server with a tool that takes arguments of many kinds, and paints. Usage: gallery.py PORT"""

import sys
from typing import Literal

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.utilities.types import Image

mcp = FastMCP(name="Gallery")


@mcp.tool(annotations={"readOnlyHint": True})
def paint(
    title: str, size: int = 8, style: Literal["plain", "fine"] = "plain", seed: int | None = None, colours: list[str] = []
) -> list:
    """Paint a picture.

    It is a small one.
    """
    if size > 100:
        raise ToolError("the canvas is too large")
    return [f"{title!r} {size!r} {style!r} {seed!r} {colours!r}", Image(data=b"\x89PNG" * size, format="png")]


if __name__ == "__main__":
    mcp.run(transport="http", port=int(sys.argv[1]), show_banner=False)
