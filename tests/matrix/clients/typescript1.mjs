// A client of the matrix on `@modelcontextprotocol/sdk` 1.x, which speaks 2025 only: `node … TARGET MODE WORDS`.
// MODE is `legacy`. A TARGET that is a JSON list is a server's command.

import { ANSWER, RHYME, main, require, said } from "./checks.mjs";

const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = require("@modelcontextprotocol/sdk/types.js");

function transport(target) {
  if (!target.startsWith("[")) return new StreamableHTTPClientTransport(new URL(target));
  const [command, ...args] = JSON.parse(target);
  return new StdioClientTransport({ command, args, env: process.env, stderr: "ignore" });
}

// The SDK tells the revision only to its transport.
function overheard(transport) {
  const told = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (revision) => {
    transport.revision = revision;
    told?.(revision);
  };
  return transport;
}

async function connect(target) {
  const client = new Client(
    { name: "typescript1", version: "1" },
    { capabilities: { elicitation: { form: {} }, sampling: {} } },
  );
  client.setRequestHandler(types.ElicitRequestSchema, () => ANSWER);
  client.setRequestHandler(types.CreateMessageRequestSchema, () => RHYME);
  const way = overheard(transport(target));
  await client.connect(way);
  return {
    revision: way.revision,
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: async (name, given, { progress, signal } = {}) => {
      const onprogress = progress && ((heard) => progress(heard.progress));
      return said(await client.callTool({ name, arguments: given }, undefined, { onprogress, signal }));
    },
    read: (uri) => client.readResource({ uri }),
    subscribe: async (uri, updated) => {
      client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, (heard) => updated(heard.params.uri));
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    close: () => client.close(),
  };
}

await main(connect);
