// The page: one stream of events in, every part told. Read this file first.

import { addCalls, beginCalls, forgetCalls } from "/static/calls.js";
import { forgetConnections, showConnections } from "/static/connections.js";
import { askedForToken } from "/static/dialogs.js";
import { byId, element, mark, say } from "/static/dom.js";
import { Refused, ask, events, useToken } from "/static/sidecar.js";
import { askAgain, forgetOffers, offer } from "/static/offers.js";
import { showActions } from "/static/tools.js";
import { count, duration, now } from "/static/units.js";
import { forgetUpstreams, showUpstreams } from "/static/upstreams.js";

const AGAIN_MS = 1500;
const SILENT_MS = 40_000; // the sidecar says something every 15 s
const PHASES = { starting: "warn", serving: "good", lame_duck: "warn", draining: "warn", stopped: "bad" };
let state = null;

function live(kind, text) {
  mark(byId("live-dot"), `dot ${kind}`);
  say(byId("live-text"), text);
  byId("main").classList.toggle("stale", kind === "bad"); // what is shown is what was
}

function tile(label) {
  const value = element("dd");
  byId("tiles").append(element("div", {}, element("dt", {}, label), value));
  return value;
}

const tiles = Object.fromEntries(["Phase", "Uptime", "Calls", "In flight", "Upstreams", "Connections"].map((label) => [label, tile(label)]));

function showTiles() {
  if (!state) return;
  const up = state.servers.filter((server) => server.state !== "down").length;
  say(tiles.Phase, state.phase.replace("_", " "));
  mark(tiles.Phase, PHASES[state.phase] ?? "");
  say(tiles.Uptime, duration(now() - state.started_at));
  say(tiles.Calls, count(state.calls));
  say(tiles["In flight"], count(state.in_flight));
  say(tiles.Upstreams, `${up} / ${state.servers.length}`);
  mark(tiles.Upstreams, up < state.servers.length ? "bad" : "");
  say(tiles.Connections, count(state.connections_total));
}

const leaving = () => state !== null && state.phase !== "serving" && state.phase !== "starting";
const calls = (number) => `${count(number)} ${number === 1 ? "call" : "calls"}`;

function showDrain() {
  const notice = byId("notice");
  notice.hidden = !leaving();
  if (notice.hidden) return;
  const left = state.drain_ends_at === null ? "" : `, at most ${duration(state.drain_ends_at - now())} more`;
  const refused = state.refused ? ` Refused since: ${calls(state.refused)}.` : "";
  say(notice, `The sidecar is leaving (${state.phase.replace("_", " ")}): ${calls(state.in_flight)} in flight${left}.${refused}`);
}

function showState(next) {
  if (state !== null && state.process !== next.process) startAnew();
  state = next;
  if (state.calls === 0) forgetCalls();
  say(byId("version"), state.version);
  showTiles();
  showDrain();
  showUpstreams(state);
  showConnections(state);
  showActions(state);
  offer(state.servers);
}

/** Another process answers at this address: nothing that is shown is its own. */
function startAnew() {
  forgetCalls();
  forgetConnections();
  forgetUpstreams();
  forgetOffers();
}

/** Until the stream ends, nothing more is heard of it, or nobody looks: a browser has six connections for all tabs. */
async function follow() {
  const watch = new AbortController();
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => watch.abort(), SILENT_MS);
  };
  const looked = () => { if (document.hidden) watch.abort(); };
  document.addEventListener("visibilitychange", looked);
  heard();
  try {
    const answer = await ask("/api/events", { signal: watch.signal });
    beginCalls();
    live("good", "live");
    for await (const { name, data } of events(answer, heard)) {
      if (name === "state") showState(data);
      else if (name === "calls") addCalls(data);
    }
  } finally {
    clearTimeout(silence);
    document.removeEventListener("visibilitychange", looked);
  }
}

/** Where no stream is to be had, in a drain or among many readers: the state, now and then. */
async function look() {
  const answer = await ask("/api/state", { signal: AbortSignal.timeout(SILENT_MS) });
  showState(await answer.json());
  live("warn", leaving() ? "draining" : "too many readers: seen now and then, without calls");
}

/** Somebody looks at this tab. */
async function seen() {
  if (!document.hidden) return;
  live("", "waiting to be looked at");
  await new Promise((resolve) => {
    const looked = () => { if (!document.hidden) resolve(document.removeEventListener("visibilitychange", looked)); };
    document.addEventListener("visibilitychange", looked);
  });
}

async function followOrLook() {
  try {
    await follow();
  } catch (error) {
    if (!(error instanceof Refused && error.status === 503)) throw error;
  }
  await look();
}

async function run() {
  for (;;) {
    await seen();
    try {
      await followOrLook();
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        live("warn", "needs a token");
        useToken(await askedForToken(error.message));
        continue;
      }
      if (document.hidden) continue;
      live("bad", error instanceof Refused ? error.message : "not reachable, trying again");
    }
    askAgain();
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

setInterval(showTiles, 1000);
run();
