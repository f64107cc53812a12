// The AI SDK against the gateway. Usage: vercel.mjs BASE_URL API_KEY URL URL_THAT_WANTS_A_TOKEN TOKEN

import assert from "node:assert/strict";

import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, streamText } from "ai";

const [baseURL, apiKey, url, closed, token] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey });
const ROLLED = /^You rolled 3 dice and got the following results: ([1-6], ){2}and [1-6]!$/;
const DENIED = "I did not call `roll_dice`, because the call was not approved.";
const UNAUTHORIZED =
  "Error retrieving tool list from MCP server: 'dice_server'. Http status code: 401 (Unauthorized)";

function question(tool = {}, more = {}) {
  const dice = openai.tools.mcp({ serverLabel: "dice_server", serverUrl: url, requireApproval: "never", ...tool });
  return { model: openai.responses("gpt-4.1"), tools: { dice }, prompt: "Roll 3 dice", maxRetries: 0, ...more };
}

const types = (parts) => parts.map((part) => part.type);

// A question that is put in messages, and goes on with what came of it.
function conversation(store) {
  const messages = [{ role: "user", content: "Roll 3 dice" }];
  const more = { prompt: undefined, messages, providerOptions: { openai: { store } } };
  return { messages, ask: question({ requireApproval: "always" }, more) };
}

function answer(content, approved) {
  const { approvalId } = content.find((part) => part.type === "tool-approval-request");
  const response = { type: "tool-approval-response", approvalId, approved, providerExecuted: true };
  return { role: "tool", content: [response] };
}

function assertAnswered(text, approved) {
  if (approved) {
    assert.match(text, ROLLED);
  } else {
    assert.equal(text, DENIED);
  }
}

const cases = {
  async "a text is generated with a call"() {
    const result = await generateText(question());
    assert.match(result.text, ROLLED);
    assert.deepEqual(types(result.content), ["tool-call", "tool-result", "text"]);
    assert.equal(result.finishReason, "stop");
  },

  async "a text is streamed with a call"() {
    const result = streamText(question());
    let text = "";
    for await (const delta of result.textStream) {
      text += delta;
    }
    assert.match(text, ROLLED);
    assert.deepEqual(types(await result.content), ["tool-call", "tool-result", "text"]);
  },

  async "a call is approved or denied in what is kept"() {
    for (const approved of [true, false]) {
      const { messages, ask } = conversation(true);
      const asked = await generateText(ask);
      messages.push(...asked.response.messages, answer(asked.content, approved));
      const answered = await generateText(ask);
      assertAnswered(answered.text, approved);
      // What was said is named by its ids from now on, and what was approved is not called again.
      messages.push(...answered.response.messages, { role: "user", content: "Hello" });
      assert.deepEqual(types((await generateText(ask)).content), ["text"]);
    }
  },

  async "a call is approved or denied while it streams"() {
    for (const approved of [true, false]) {
      const { messages, ask } = conversation(true);
      const asked = streamText(ask);
      const content = await asked.content;
      messages.push(...(await asked.response).messages, answer(content, approved));
      assertAnswered(await streamText(ask).text, approved);
    }
  },

  async "a call is approved or denied with previous_response_id"() {
    for (const approved of [true, false]) {
      const { messages, ask } = conversation(true);
      const asked = await generateText(ask);
      messages.splice(0, messages.length, ...asked.response.messages, answer(asked.content, approved));
      const previousResponseId = asked.response.id;
      const answered = await generateText({ ...ask, providerOptions: { openai: { previousResponseId } } });
      assertAnswered(answered.text, approved);
    }
  },

  async "a server that wants a token is told of, and opened with one"() {
    const isExplained = (error) => {
      assert(APICallError.isInstance(error), error);
      assert.equal(error.message, UNAUTHORIZED);
      return error;
    };
    await assert.rejects(generateText(question({ serverUrl: closed })), (error) => isExplained(error).statusCode === 424);
    const failures = [];
    const failing = streamText(question({ serverUrl: closed }, { onError: ({ error }) => failures.push(error) }));
    await failing.consumeStream();
    assert.equal(failures.length, 1);
    assert.match(failures[0].message, /401 \(Unauthorized\)/);
    const opened = await generateText(question({ serverUrl: closed, authorization: token }));
    assert.match(opened.text, ROLLED);
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(`ok ${name}`);
}
