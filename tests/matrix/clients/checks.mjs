// What every client of the matrix has to do, once for both TypeScript SDKs; the same checks as in checks.py.

import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

// With every CPU busy a server takes many seconds to start; and some clients connect before it has.
const CONNECT_MS = 30000;
const CHECK_MS = 25000;
const ALL_MS = 80000;
const LEAVE_MS = 3000;
// An update may pass before the stream that would carry it is open; then the resource is changed once more.
const AGAIN_MS = 1000;
const MOST_SAID = 400;

// What every client answers when it is asked for its user's name, and what its model says.
export const ANSWER = { action: "accept", content: { name: "Ada" } };
export const RHYME = { role: "assistant", content: { type: "text", text: "bell" }, model: "a table" };

// The SDKs are installed outside the tree: MODULES is the directory that has their node_modules.
export const require = createRequire(`${process.env.MODULES}/package.json`);

function insist(fact, said) {
  if (!fact) throw new Error(said);
}

async function agrees(peer, words) {
  insist(peer.revision === words.is, `speaks ${peer.revision}`);
}

async function lists(peer, words) {
  const names = await peer.tools();
  insist(names.includes(words.tool), `not listed: ${words.tool}`);
  insist(new Set(names).size === names.length, "a tool is listed twice");
}

async function calls(peer, words) {
  const { text, failed } = await peer.call(words.tool, words.arguments);
  insist(text.includes(words.says) && !failed, `said ${text}`);
}

async function hearsProgress(peer, words) {
  const heard = [];
  const { failed } = await peer.call(words.tool, words.arguments, { progress: (done) => heard.push(done) });
  insist(!failed, "a failure");
  insist(JSON.stringify(heard) === JSON.stringify(words.steps), `heard ${heard}`);
}

async function seesAToolFail(peer, words) {
  const { text, failed } = await peer.call(words.tool, words.arguments);
  insist(failed && text.includes(words.says), `said ${text}`);
}

async function seesARequestFail(peer, words) {
  const error = await peer.read(words.uri).then(
    () => insist(false, "no error"),
    (error) => error,
  );
  insist(words.codes.includes(error.code), `code ${error.code}: ${error.message}`);
}

async function givesUp(peer, words) {
  const token = `call-${process.pid}`;
  const abort = new AbortController();
  const begun = Promise.withResolvers();
  const given = { ...words.arguments, text: token };
  const call = peer.call(words.tool, given, { progress: begun.resolve, signal: abort.signal });
  call.catch(() => {});
  await Promise.race([begun.promise, call]);
  abort.abort();
  while (!(await peer.call(words.asked, {})).text.includes(token)) await sleep(50);
}

async function isSubscribed(peer, words) {
  const uris = new Set();
  const leave = await peer.subscribe(words.uri, (uri) => uris.add(uri));
  while (uris.size === 0) {
    await peer.call(words.tool, {});
    for (let waited = 0; uris.size === 0 && waited < AGAIN_MS; waited += 20) await sleep(20);
  }
  await leave();
  insist([...uris].join() === words.uri, `heard of ${[...uris]}`);
}

const CHECKS = {
  "revision": agrees,
  "list": lists,
  "call": calls,
  "progress": hearsProgress,
  "tool error": seesAToolFail,
  "protocol error": seesARequestFail,
  "cancellation": givesUp,
  "elicitation": calls,
  "sampling": calls,
  "subscription": isSubscribed,
};

export function said(result) {
  const text = result.content.map((block) => block.text ?? "").join("");
  return { text, failed: Boolean(result.isError) };
}

function bounded(promise, milliseconds) {
  promise.catch(() => {});
  const late = sleep(milliseconds).then(() => insist(false, "TimeoutError"));
  return Promise.race([promise, late]);
}

function why(error) {
  const cause = error.cause ? `: ${error.cause.message ?? error.cause}` : "";
  return `failed: ${error.message}${cause}`.replaceAll(/\s+/g, " ").slice(0, MOST_SAID);
}

// `TARGET MODE WORDS`: connect, do every check that WORDS (JSON) has, write what came of it as one JSON object.
// Words that are a text say why the server cannot do it. `connect(target, mode)` resolves to the SDK's client.
export async function main(connect) {
  const [target, mode, given] = process.argv.slice(2);
  const words = JSON.parse(given);
  const outcomes = {};
  try {
    const peer = await bounded(connect(target, mode), CONNECT_MS);
    const end = Date.now() + ALL_MS;
    for (const [name, more] of Object.entries(words)) {
      const left = Math.min(end - Date.now(), CHECK_MS);
      if (typeof more === "string") outcomes[name] = `n/a: ${more}`;
      else outcomes[name] = await bounded(CHECKS[name](peer, more), left).then(() => "ok", why);
    }
    await bounded(peer.close(), LEAVE_MS).catch(() => {});
  } catch (error) {
    for (const name of Object.keys(words)) outcomes[name] ??= why(error);
  }
  // What an SDK has left running must not keep the process.
  process.stdout.write(`${JSON.stringify(outcomes)}\n`, () => process.exit(0));
}
