// openai-node against the gateway. Usage: openai.mjs BASE_URL API_KEY URL URL_THAT_WANTS_A_TOKEN TOKEN

import assert from "node:assert/strict";

import OpenAI, { APIError, AuthenticationError, BadRequestError, NotFoundError } from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const [baseURL, apiKey, url, closed, token] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ROLLED = /^You rolled 3 dice and got the following results: ([1-6], ){2}and [1-6]!$/;
const DENIED = "I did not call `roll_dice`, because the call was not approved.";
const UNAUTHORIZED =
  "Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)";

function question(more = {}, tool = {}) {
  return {
    model: "gpt-4.1",
    input: "Roll 3 dice",
    tools: [{ type: "mcp", server_label: "dice_server", server_url: url, require_approval: "never", ...tool }],
    ...more,
  };
}

function answer(request, approve) {
  return { type: "mcp_approval_response", approval_request_id: request.id, approve };
}

async function collected(iterable) {
  const all = [];
  for await (const one of iterable) {
    all.push(one);
  }
  return all;
}

const types = (items) => items.map((item) => item.type);

const cases = {
  async "a response is made, kept and deleted"() {
    const made = await client.responses.create(question());
    assert.match(made.output_text, ROLLED);
    assert.deepEqual(types(made.output), ["mcp_list_tools", "mcp_call", "message"]);
    assert.deepEqual(await client.responses.retrieve(made.id), made);
    await client.responses.delete(made.id);
    await assert.rejects(client.responses.retrieve(made.id), NotFoundError);
  },

  async "a stream tells the response that is kept"() {
    const events = await collected(await client.responses.create(question({ stream: true })));
    assert.deepEqual(types(events.slice(0, 2)), ["response.created", "response.in_progress"]);
    const { type, response } = events.at(-1);
    assert.equal(type, "response.completed");
    const { output_text, ...kept } = await client.responses.retrieve(response.id);
    assert.match(output_text, ROLLED);
    assert.deepEqual(kept, response);
    const final = await client.responses.stream(question()).finalResponse();
    assert.match(final.output_text, ROLLED);
  },

  async "a call is approved or denied in what is kept"() {
    const always = { require_approval: "always" };
    for (const approve of [true, false]) {
      const asked = await client.responses.create(question({}, always));
      assert.deepEqual(types(asked.output), ["mcp_list_tools", "mcp_approval_request"]);
      const input = [answer(asked.output[1], approve)];
      const answered = await client.responses.create(question({ previous_response_id: asked.id, input }, always));
      if (approve) {
        assert.match(answered.output_text, ROLLED);
      } else {
        assert.equal(answered.output_text, DENIED);
      }
    }
  },

  async "a call is approved or denied in what is sent again"() {
    const always = { require_approval: "always" };
    const said = [{ role: "user", content: "Roll 3 dice" }];
    const asked = await client.responses.create(question({ store: false, input: said }, always));
    for (const approve of [true, false]) {
      const input = [...said, ...asked.output, answer(asked.output[1], approve)];
      const answered = await client.responses.create(question({ store: false, input }, always));
      if (approve) {
        assert.match(answered.output_text, ROLLED);
      } else {
        assert.equal(answered.output_text, DENIED);
      }
    }
  },

  async "input items are paged"() {
    const input = [0, 1, 2, 3, 4].map((number) => ({ role: "user", content: `Number ${number}` }));
    const made = await client.responses.create(question({ input, tools: [] }));
    const items = await collected(client.responses.inputItems.list(made.id, { limit: 2, order: "asc" }));
    assert.deepEqual(items.map((item) => item.content[0].text), input.map((message) => message.content));
  },

  async "a response in the background is streamed again, and cancelled only there"() {
    const stream = await client.responses.create(question({ background: true, stream: true }));
    const [{ response }] = await collected(stream);
    const again = client.responses.stream({ response_id: response.id, starting_after: 2 });
    const numbers = [];
    again.on("event", (event) => numbers.push(event.sequence_number));
    assert.match((await again.finalResponse()).output_text, ROLLED);
    assert.equal(numbers[0], 3);
    const plain = await client.responses.create(question());
    await assert.rejects(client.responses.cancel(plain.id), BadRequestError);
  },

  async "tokens are counted and models are listed"() {
    const counted = await client.responses.inputTokens.count({ model: "gpt-4.1", input: "Hi" });
    assert(counted.input_tokens > 0);
    assert((await collected(client.models.list())).length > 0);
  },

  async "a refusal has its class"() {
    const stranger = new OpenAI({ baseURL, apiKey: "sk-other", maxRetries: 0 });
    await assert.rejects(stranger.responses.create(question()), AuthenticationError);
    await assert.rejects(client.responses.create(question({ previous_response_id: "resp_no" })), (error) => {
      assert(error instanceof BadRequestError);
      assert.equal(error.code, "previous_response_not_found");
      return true;
    });
    await assert.rejects(client.responses.create(question({}, { server_url: closed })), (error) => {
      assert.equal(error.constructor, APIError);
      assert.equal(error.status, 424);
      assert.deepEqual(error.error, {
        message: UNAUTHORIZED,
        type: "external_connector_error",
        param: "tools",
        code: "http_error",
      });
      return true;
    });
    const stream = await client.responses.create(question({ stream: true }, { server_url: closed }));
    await assert.rejects(collected(stream), { constructor: APIError, code: "http_error", param: "tools" });
    const headers = { Authorization: `Bearer ${token}` };
    const opened = await client.responses.create(question({}, { server_url: closed, headers }));
    assert.match(opened.output_text, ROLLED);
  },

  async "a WebSocket takes a question"() {
    const connection = new ResponsesWS(client);
    try {
      connection.send({ type: "response.create", ...question() });
      for await (const event of connection) {
        if (event.type === "message" && event.message.type === "response.completed") {
          const [said] = event.message.response.output.at(-1).content;
          assert.match(said.text, ROLLED);
          return;
        }
        assert.notEqual(event.type, "error", event);
      }
      assert.fail("the connection was closed");
    } finally {
      connection.close();
    }
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(`ok ${name}`);
}
