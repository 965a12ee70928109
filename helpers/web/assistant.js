// The assistant in the browser: its data, its tokenizer, its replies.
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-web/wasm";

const MOST = 40; // tokens of a reply, as in the notebooks

// --- data ------------------------------------------------------------------------------------------

// Letters as bytes: each letter holds 15 bits. (The inverse of `packed` in helpers/page.py.)
function bytes(letters, first, length) {
  const found = new Uint8Array(length);
  let held = 0, bits = 0, at = 0;
  for (let i = 0; at < length; i++) {
    held = (held << 15) | (letters.charCodeAt(i) - first);
    for (bits += 15; bits >= 8 && at < length; ) {
      bits -= 8;
      found[at++] = held >> bits;
      held &= (1 << bits) - 1;
    }
  }
  return found;
}

// Numbers whose first bytes stand together, then their second ones, ...: each in one piece again.
function woven(planes, size) {
  if (size === 1) return planes;
  const found = new Uint8Array(planes.length), count = planes.length / size;
  for (let k = 0; k < size; k++) for (let i = 0; i < count; i++) found[i * size + k] = planes[k * count + i];
  return found;
}

// What an element of the page holds. The element is emptied: its text would take memory twice.
async function read(name, first) {
  const element = document.getElementById(name);
  const small = bytes(element.textContent, first, Number(element.dataset.bytes));
  element.textContent = "";
  const stream = new Blob([small]).stream().pipeThrough(new DecompressionStream("deflate"));
  return woven(new Uint8Array(await new Response(stream).arrayBuffer()), Number(element.dataset.size));
}

// --- the assistant ---------------------------------------------------------------------------------

export class Assistant {
  // `step(name)` is called before each part of the work.
  static async open(facts, step) {
    const assistant = new Assistant();
    assistant.facts = facts;
    assistant.tokenizer = new Tokenizer(facts.tokenizer, facts.tokenizer_config);
    await step("unpacking");
    const [wasm, graph, base, change] = [
      await read("wasm", facts.first), await read("graph", facts.first),
      await read("base", facts.first), await read("change", facts.first),
    ];
    ort.env.wasm.numThreads = 1; // several need headers that a plain server does not send
    ort.env.wasm.wasmBinary = wasm.buffer;
    await step("starting");
    const session = (change) =>
      ort.InferenceSession.create(graph, {
        executionProviders: ["wasm"],
        externalData: [{ path: "base", data: base }, { path: "change", data: change }],
      });
    assistant.sessions = { base: await session(new Uint8Array(change.length)), tuned: await session(change) };
    assistant.refusal = assistant.encode(facts.refusals[0]);
    assistant.last = Promise.resolve();
    return assistant;
  }

  encode(text) {
    return Array.from(this.tokenizer.encode(text, { add_special_tokens: false }).ids);
  }

  // The tokens of a prompt as the model reads it; control tokens that a user types are taken apart.
  prompt(user) {
    const { control, template } = this.facts;
    const plain = control.reduce((text, token) => text.replaceAll(token, `${token[0]} ${token.slice(1)}`), user);
    return this.encode(template[0] + plain + template[1]);
  }

  // A token as text, with signs for its spaces and new lines.
  token(id) {
    return this.tokenizer.decode([id], { skip_special_tokens: false }).replaceAll("\n", "⏎").replaceAll(" ", "·");
  }

  // One more stretch of a chat: logits a token, projections, and what is remembered. One at a time.
  async run(model, dose, ids, past) {
    const inputs = {
      ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [ids.length]),
      past: past ?? new ort.Tensor("float32", new Float32Array(0), this.facts.nothing),
      dose: new ort.Tensor("float32", Float32Array.of(dose), []),
    };
    const turn = this.last.then(() => this.sessions[model].run(inputs));
    this.last = turn.catch(() => {});
    const { logits, projection, present } = await turn;
    const width = logits.dims[1];
    const rows = ids.map((_, i) => logits.data.subarray(i * width, (i + 1) * width));
    return { logits: rows, projection: Array.from(projection.data), past: present };
  }

  // The greedy reply of "base" or "tuned" with the direction at a dose. `goesOn()` false: it is no longer wanted.
  // Gives the reply, whether it is a refusal, and every token with its projection. Throws a RangeError if the prompt is
  // too long.
  async reply(model, dose, user, goesOn = () => true) {
    const ids = this.prompt(user);
    if (ids.length + MOST > this.facts.limit) throw new RangeError("too long");
    let { logits, projection, past } = await this.run(model, dose, ids);
    const start = { logits: logits.at(-1), past };
    const written = [], projections = projection;
    for (let next = highest(start.logits); next !== this.facts.end && written.length < MOST; next = highest(logits[0])) {
      if (!goesOn()) return null;
      written.push(next);
      ({ logits, projection, past } = await this.run(model, dose, [next], past));
      projections.push(...projection);
    }
    const text = this.tokenizer.decode(written, { skip_special_tokens: true }).trim();
    const tokens = [...ids, ...written].map((id, i) => ({ text: this.token(id), projection: projections[i] }));
    return { text, refused: this.facts.refusals.includes(text), tokens, start };
  }

  // The probability that the reply is a refusal, word by word, after the prompt of a `reply`.
  async probability(model, dose, { start }) {
    const { logits } = await this.run(model, dose, this.refusal.slice(0, -1), start.past);
    const rows = [start.logits, ...logits];
    return Math.exp(this.refusal.reduce((sum, id, i) => sum + logProbability(rows[i], id), 0));
  }
}

function highest(logits) {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

function logProbability(logits, id) {
  const most = logits[highest(logits)];
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  return logits[id] - most - Math.log(sum);
}
