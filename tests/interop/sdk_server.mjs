// The dice server, made with the official TypeScript SDK. Usage: sdk_server.mjs PORT stateless|stateful

import { randomInt, randomUUID } from "node:crypto";
import { createServer } from "node:http";

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

const [port, kind] = process.argv.slice(2);
const sessions = new Map();

// Without sessions, the SDK wants a server and a transport for each request.
async function connected() {
  const server = new McpServer({ name: "Dice Roller", version: "1" });
  server.registerTool(
    "roll_dice",
    {
      description: "Roll `n_dice` 6-sided dice and return the results.",
      inputSchema: { n_dice: z.number().int() },
      outputSchema: { result: z.array(z.number().int()) },
    },
    ({ n_dice }) => {
      const result = Array.from({ length: n_dice }, () => randomInt(1, 7));
      return { content: [{ type: "text", text: JSON.stringify(result) }], structuredContent: { result } };
    },
  );
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: kind === "stateful" ? randomUUID : undefined,
    onsessioninitialized: (id) => sessions.set(id, transport),
    onsessionclosed: (id) => sessions.delete(id),
  });
  await server.connect(transport);
  return transport;
}

createServer(async (request, response) => {
  if (request.url !== "/mcp") {
    response.writeHead(404).end();
    return;
  }
  const transport = sessions.get(request.headers["mcp-session-id"]) ?? (await connected());
  await transport.handleRequest(request, response);
}).listen(Number(port), "127.0.0.1");
