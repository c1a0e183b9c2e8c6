// What the openai and @anthropic-ai/sdk packages see in Node: prints one JSON object.
// Arguments: a text that the teacher answers, and one that a student answers.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const openai = new OpenAI({ maxRetries: 0 });
const anthropic = new Anthropic({ maxRetries: 0 });
const tool = { name: "find_parcel", parameters: { type: "object" } };
const claudeTool = { name: "find_parcel", input_schema: { type: "object" } };

const asked = (text, more = {}) => ({
  model: "big",
  messages: [{ role: "user", content: text }],
  ...more,
});

const gather = async (stream) => {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
};

const raised = async (call) => {
  try {
    await call();
  } catch (error) {
    return {
      class: error.constructor.name,
      message: error.message,
      status: error.status ?? null,
      request_id: error.requestID ?? null,
      retry_after: error.headers?.get("retry-after") ?? null,
      body: error.error ?? null,
    };
  }
  return {};
};

const cases = {
  async chat(text) {
    const { data, response } = await openai.chat.completions.create(asked(text)).withResponse();
    return {
      text: data.choices[0].message.content,
      finish: data.choices[0].finish_reason,
      source: response.headers.get("x-openwheel-source"),
      request_id: data._request_id,
    };
  },

  async chat_stream(text) {
    const seen = {};
    for (const include_usage of [true, false]) {
      const chunks = await gather(
        await openai.chat.completions.create(
          asked(text, { stream: true, stream_options: { include_usage } }),
        ),
      );
      const choices = chunks.flatMap((chunk) => chunk.choices);
      seen[include_usage ? "asked" : "declined"] = {
        text: choices.map((choice) => choice.delta.content ?? "").join(""),
        finish: choices.at(-1).finish_reason,
        usages: chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage.total_tokens),
      };
    }
    return seen;
  },

  async chat_tools(text) {
    const stream = openai.chat.completions.stream(
      asked(text, { tools: [{ type: "function", function: tool }] }),
    );
    const message = await stream.finalMessage();
    const { name, arguments: given } = message.tool_calls[0].function;
    return [name, given];
  },

  async responses(text) {
    const given = { model: "big", input: text, store: false };
    const whole = await openai.responses.create(given);
    const events = await gather(await openai.responses.create({ ...given, stream: true }));
    return { text: whole.output_text, last: events.at(-1).type, streamed: deltas(events) };
  },

  async completions(text) {
    const whole = await openai.completions.create({ model: "big", prompt: text });
    const chunks = await gather(
      await openai.completions.create({ model: "big", prompt: text, stream: true }),
    );
    return {
      text: whole.choices[0].text,
      streamed: chunks.map((chunk) => chunk.choices[0].text).join(""),
    };
  },

  async embeddings(text) {
    const found = await openai.embeddings.create({ model: "big-embedding", input: [text, text] });
    return found.data.map((item) => Array.from(item.embedding));
  },

  async models() {
    return (await gather(openai.models.list())).map((model) => model.id);
  },

  async errors(text) {
    const ask = (model, more = {}) =>
      raised(async () => {
        const found = await openai.chat.completions.create({ ...asked(text), model, ...more });
        if (more.stream) await gather(found);
      });
    const patient = new OpenAI({ maxRetries: 2 });
    const again = await patient.chat.completions.create({ ...asked(text), model: "retry-429" });
    return {
      429: await ask("error-429"),
      400: await ask("error-400"),
      "cut stream": await ask("cut", { stream: true }),
      retried: again.choices[0].message.content,
    };
  },

  async messages(text) {
    const whole = await anthropic.messages.create(asked(text, { max_tokens: 64 }));
    const stream = anthropic.messages.stream(asked(text, { max_tokens: 64 }));
    const final = await stream.finalMessage();
    return {
      text: whole.content[0].text,
      streamed: final.content[0].text,
      stop: final.stop_reason,
    };
  },

  async messages_tools(text) {
    const stream = anthropic.messages.stream(
      asked(text, { max_tokens: 64, tools: [claudeTool] }),
    );
    const { name, input } = (await stream.finalMessage()).content[1];
    return [name, input];
  },

  async messages_errors(text) {
    const ask = (model, stream) =>
      raised(async () => {
        const found = await anthropic.messages.create({
          ...asked(text, { max_tokens: 64, stream }),
          model,
        });
        if (stream) await gather(found);
      });
    return {
      429: await ask("error-429", false),
      "cut stream": await ask("cut", true),
      "overloaded stream": await ask("overloaded", true),
    };
  },
};

const deltas = (events) =>
  events
    .filter((event) => event.type === "response.output_text.delta")
    .map((event) => event.delta)
    .join("");

const OF_STUDENT = ["chat", "chat_stream", "responses", "completions", "messages"];
const [ofTeacher, ofAStudent] = process.argv.slice(2);
const seen = { teacher: {}, student: {} };
for (const name of Object.keys(cases)) seen.teacher[name] = await cases[name](ofTeacher);
for (const name of OF_STUDENT) seen.student[name] = await cases[name](ofAStudent);
console.log(JSON.stringify(seen));
