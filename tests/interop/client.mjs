// The TypeScript SDK's client rolls dice. Usage: client.mjs URL [TOKEN], or client.mjs COMMAND ARGUMENT...

import assert from "node:assert/strict";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

function transport([server, ...rest]) {
  if (!/^https?:/.test(server)) {
    return new StdioClientTransport({ command: server, args: rest });
  }
  const headers = rest.length ? { Authorization: `Bearer ${rest[0]}` } : {};
  return new StreamableHTTPClientTransport(new URL(server), { requestInit: { headers } });
}

const client = new Client({ name: "interop", version: "1" });
await client.connect(transport(process.argv.slice(2)));
try {
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map((tool) => tool.name), ["roll_dice"]);

  const rolled = await client.callTool({ name: "roll_dice", arguments: { n_dice: 3 } });
  const dice = rolled.structuredContent.result;
  assert.equal(dice.length, 3);
  assert(dice.every((die) => Number.isInteger(die) && 1 <= die && die <= 6), dice);
  assert.deepEqual(JSON.parse(rolled.content[0].text), dice);

  const refused = await client.callTool({ name: "roll_dice", arguments: { n_dice: "x" } });
  assert.equal(refused.isError, true);
  assert.match(refused.content[0].text, /from 1 to 10000/);

  await assert.rejects(client.callTool({ name: "roll_cards" }), /Unknown tool: roll_cards/);
} finally {
  await client.close();
}
