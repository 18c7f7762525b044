// Whose tools have to be asked for, and asking: of all at first, then of those that come, change or recover.

import { told } from "/static/dialogs.js";
import { byId } from "/static/dom.js";
import { ask, events } from "/static/sidecar.js";
import { showTools } from "/static/tools.js";

const LONGEST_QUERY = 4000; // the names of hundreds are too long for a line (414)
const PACE_MS = 2000; // a server that changes all the time is not asked all the time
const isTool = (tool) => typeof tool?.name === "string";
let servers = []; // as the state has them
const answers = new Map(); // by server: what it said last
const asked = new Map(); // by server: in which condition it was when it was asked last
const MOST_READINGS = 2; // requests at a time: a server that is slow keeps no news of another from the page
const readings = new Map(); // what ends each, by its number
const shownFrom = new Map(); // by server: the number of the request that its answer is of
let lastReading = 0;
let begunAt = -Infinity;
let timer = 0;

/** A tool whose words are texts, whatever its server sent in their place: one server spoils no list. */
function readable(tool) {
  const text = (value) => (typeof value === "string" ? value : "");
  return { ...tool, title: text(tool.title), description: text(tool.description) };
}

const condition = ({ offers, state }) => `${offers} ${state}`;

function isDue(server) {
  const before = asked.get(server.name);
  if (before === condition(server)) return false;
  // That it went down says nothing that its answer did not say already.
  return !(server.state === "down" && before?.startsWith(`${server.offers} `) && answers.get(server.name)?.error);
}

/** The servers there are: ask those that may offer something else than is shown. */
export function offer(state) {
  const names = (all) => all.map(({ name }) => name).join("\n");
  const others = names(state) !== names(servers);
  servers = state;
  if (others) {
    const known = new Set(servers.map(({ name }) => name));
    for (const kept of [answers, asked, shownFrom]) for (const name of kept.keys()) if (!known.has(name)) kept.delete(name);
    show();
  }
  if (!timer && servers.some(isDue)) timer = setTimeout(begin, Math.max(0, begunAt + PACE_MS - Date.now()));
}

/** What is known may be old. */
export const askAgain = () => asked.clear();

/** What is known is another process's. */
export function forgetOffers() {
  endReadings();
  servers = [];
  for (const kept of [answers, asked, shownFrom]) kept.clear();
}

function endReadings() {
  for (const reading of readings.values()) reading.abort();
  readings.clear();
}

const later = () => (timer ||= setTimeout(begin, PACE_MS));

function begin() {
  timer = 0;
  if (readings.size >= MOST_READINGS) return void later();
  const due = servers.filter(isDue);
  if (due.length) read(due).catch(() => {}); // it is tried again
}

function show() {
  showTools(servers.map(({ name }) => answers.get(name) ?? { server: name, tools: [], error: "", pending: true }));
}

/** Ask these. Of two answers of a server the one to the later request counts, whichever comes first. */
async function read(due) {
  const number = ++lastReading;
  const ending = new AbortController();
  const awaited = new Map(due.map((server) => [server.name, condition(server)]));
  readings.set(number, ending);
  begunAt = Date.now();
  for (const [name, asIs] of awaited) asked.set(name, asIs);
  const some = `?${new URLSearchParams(due.map(({ name }) => ["server", name]))}`;
  const query = due.length === servers.length || some.length > LONGEST_QUERY ? "" : some;
  try {
    const answer = await ask(`/api/tools${query}`, { signal: ending.signal, accept: "text/event-stream" });
    for await (const { data } of events(answer)) {
      if (!readings.has(number)) return;
      awaited.delete(data.server);
      if ((shownFrom.get(data.server) ?? 0) > number) continue;
      shownFrom.set(data.server, number);
      answers.set(data.server, { ...data, tools: data.tools.filter(isTool).map(readable) });
      show();
    }
  } catch (error) {
    if (!readings.has(number)) return;
    for (const [name, asIs] of awaited) if (asked.get(name) === asIs) asked.delete(name);
    later(); // a quiet sidecar tells of no next state
    throw error;
  } finally {
    readings.delete(number);
  }
}

byId("tools-refresh").addEventListener("click", async ({ target }) => {
  if (target.ariaDisabled) return;
  target.ariaDisabled = "true"; // not `disabled`, which would take the focus away
  try {
    endReadings();
    await read(servers);
  } catch (error) {
    await told("The tools were not listed anew", error.message);
  } finally {
    target.ariaDisabled = null;
  }
});
