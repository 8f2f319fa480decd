// The official `openai` client for Node, unchanged, at the address that is given.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "a-key", maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];

const reply = await client.chat.completions.create({ model: "polyroute", messages });
assert.equal(reply.choices[0].message.content, "[1] Hello world");
assert.equal(reply.polyroute.usd, "0.000015");

let text = "";
for await (const chunk of await client.chat.completions.create({ model: "polyroute", messages, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text.trim(), "[1] Hello world");

const response = await client.responses.create({ model: "tools", input: "weather?" });
assert.equal(response.output[0].name, "weather");
const stream = client.responses.stream({ model: "polyroute", input: "hello" });
const types = [];
stream.on("event", (event) => types.push(event.type));
const final = await stream.finalResponse();
assert.equal(final.output_text.trim(), "[1] Hello world");
assert.equal(types[0], "response.created");
assert.equal(types.at(-1), "response.completed");

const vectors = await client.embeddings.create({
  model: "small-vectors", input: ["a", "bc"], encoding_format: "float",
});
assert.equal(vectors.data.length, 2);
await assert.rejects(
  client.chat.completions.create({ model: "limit-429", messages }),
  (error) => error instanceof OpenAI.RateLimitError,
);
