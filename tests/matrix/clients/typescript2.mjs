// A client of the matrix on `@modelcontextprotocol/client` 2.x: `node … TARGET MODE WORDS`.
// MODE is `legacy`, which is what the SDK does by itself, or `auto`. A TARGET that is a JSON list is a server's command.

import { ANSWER, RHYME, main, require, said } from "./checks.mjs";

const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
const { StdioClientTransport } = require("@modelcontextprotocol/client/stdio");

function transport(target) {
  if (!target.startsWith("[")) return new StreamableHTTPClientTransport(new URL(target));
  const [command, ...args] = JSON.parse(target);
  return new StdioClientTransport({ command, args, env: process.env, stderr: "ignore" });
}

async function connect(target, mode) {
  const versionNegotiation = mode === "auto" ? { mode } : undefined;
  const client = new Client(
    { name: "typescript2", version: "1" },
    { capabilities: { elicitation: { form: {} }, sampling: {} }, versionNegotiation },
  );
  client.setRequestHandler("elicitation/create", () => ANSWER);
  client.setRequestHandler("sampling/createMessage", () => RHYME);
  await client.connect(transport(target));
  const revision = client.getNegotiatedProtocolVersion();
  return {
    revision,
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: async (name, given, { progress, signal } = {}) => {
      const onprogress = progress && ((heard) => progress(heard.progress));
      return said(await client.callTool({ name, arguments: given }, { onprogress, signal }));
    },
    read: (uri) => client.readResource({ uri }),
    subscribe: async (uri, updated) => {
      client.setNotificationHandler("notifications/resources/updated", (heard) => updated(heard.params.uri));
      if (revision === "2026-07-28") {
        const subscription = await client.listen({ resourceSubscriptions: [uri] });
        return () => subscription.close();
      }
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    close: () => client.close(),
  };
}

await main(connect);
