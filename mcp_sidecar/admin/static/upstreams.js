// The table of MCP servers: a row each, and below it one for each endpoint where there are several.

import { Rows, byId, element, mark, say } from "/static/dom.js";
import { Spark } from "/static/spark.js";
import { count, milliseconds } from "/static/units.js";

const STATES = { up: "good", down: "bad", unknown: "", connected: "good", connecting: "warn", disconnected: "bad", "": "" };

/** The cells of how calls went, for servers and endpoints alike. */
class Times {
  constructor() {
    const cell = (kind = "") => element("td", { class: `number ${kind}`.trim() });
    Object.assign(this, { calls: cell(), failed: cell(), p50: cell("wide"), p95: cell(), spark: new Spark() });
    this.cells = [this.calls, this.failed, this.p50, this.p95, element("td", {}, this.spark.svg)];
  }

  show(latency) {
    say(this.calls, count(latency.calls));
    say(this.failed, count(latency.failed));
    this.failed.classList.toggle("bad-text", latency.failed > 0);
    say(this.p50, milliseconds(latency.p50_ms));
    say(this.p95, milliseconds(latency.p95_ms));
    this.spark.show(latency);
  }
}

const held = ({ connections, in_flight }) => `${connections} connection${connections === 1 ? "" : "s"} · ${in_flight} in flight`;

/** An address with the state of the connections to it. */
class Place {
  constructor() {
    this.dot = element("span", { class: "dot" });
    this.state = element("span", { class: "unseen" });
    this.address = element("span");
    this.node = element("span", { class: "place mono" }, this.dot, this.state, this.address);
  }

  show(endpoint) {
    mark(this.dot, `dot ${STATES[endpoint.state] ?? ""}`);
    say(this.state, `${endpoint.state || "not connected"}: `);
    say(this.address, endpoint.address);
    this.node.title = `${endpoint.state || "not connected"}, ${held(endpoint)}`;
  }
}

function serverRow() {
  const dot = element("span", { class: "dot" });
  const [state, name] = [element("span", { class: "unseen" }), element("span")];
  const [title, error] = [element("span", { class: "sub" }), element("span", { class: "sub bad" })];
  const [several, place, times] = [element("span", { class: "dim" }), new Place(), new Times()];
  const protocol = element("td", { class: "wide" });
  const heading = element("th", { scope: "row", class: "cut" }, element("span", { class: "name" }, dot, state, name), title, error);
  const row = element("tr", {}, heading, element("td", { class: "cut wide" }, place.node, several), protocol, times.cells);
  const update = ({ server }) => {
    mark(dot, `dot ${STATES[server.state] ?? ""}`);
    say(state, `${server.state}: `);
    say(name, server.name);
    say(title, [server.title, server.version].filter(Boolean).join(" "));
    title.hidden = !server.title;
    say(error, server.last_error);
    error.title = server.last_error; // cut off, mostly
    error.hidden = !server.last_error;
    const one = server.endpoints.length === 1;
    place.node.hidden = !one;
    if (one) place.show(server.endpoints[0]);
    say(several, one ? "" : `${server.endpoints.length} endpoints`);
    say(protocol, [server.protocol_version || "not asked yet", server.transport].join(" · "));
    times.show(server.latency);
  };
  return { row, update };
}

function endpointRow() {
  const [place, times] = [new Place(), new Times()];
  const busy = element("td", { class: "wide dim", colspan: 2 });
  const row = element("tr", { class: "lesser" }, element("th", { scope: "row", class: "cut" }, place.node), busy, times.cells);
  const update = ({ endpoint }) => {
    place.show(endpoint);
    say(busy, held(endpoint));
    times.show(endpoint.latency);
  };
  return { row, update };
}

const rows = new Rows(
  byId("upstream-rows"),
  ({ server, endpoint }) => (endpoint ? `${server.name}\n${endpoint.address}` : server.name),
  ({ endpoint }) => (endpoint ? endpointRow() : serverRow()),
);

export const forgetUpstreams = () => rows.forget();

export function showUpstreams(state) {
  rows.show(state.servers.flatMap((server) => {
    const places = server.endpoints.length > 1 ? server.endpoints : [];
    return [{ server }, ...places.map((endpoint) => ({ server, endpoint }))];
  }));
  byId("upstreams-empty").hidden = state.servers.length > 0;
}
