// The way to the sidecar's API: the token, requests, event streams. The token lives in this variable and nowhere else.

let token = "";

export function useToken(value) {
  token = value.trim();
}

/** What the sidecar said no with. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** A request; JSON is sent when there is a `body` (text). Throws `Refused` for every status but 200. */
export async function ask(path, { method = "GET", body, signal, accept } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (accept) headers.accept = accept;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, body, signal, cache: "no-store", redirect: "error" });
  if (answer.status !== 200) throw new Refused(answer.status, await reason(answer));
  return answer;
}

async function reason(answer) {
  const text = await answer.text();
  try {
    return String(JSON.parse(text).error ?? text);
  } catch {
    return text || `HTTP ${answer.status}`;
  }
}

/** The events of an answer as {name, data}, as they come; `heard` is told of every sign of life. Not `EventSource`: it cannot send a token. */
export async function* events(answer, heard = () => {}) {
  let rest = "";
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
      const name = lines.find(([field]) => field === "event")?.[1] ?? "message";
      const data = lines.filter(([field]) => field === "data").map(([, text]) => text).join("\n");
      if (data) yield { name, data: JSON.parse(data) };
    }
  }
}
