/** Fails where what a page loads to follow channels, minified and gzipped, is more than it may be. */

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";

/** Why not less: docs/adr/0019-the-javascript-client.md. */
const LIMIT = 11_700;

const client = JSON.stringify(new URL("../dist/index.js", import.meta.url).pathname);
const page = {
  name: "page",
  resolveId: (id) => (id === "page" ? id : undefined),
  load: (id) =>
    id === "page"
      ? `import { WebSocketClient } from ${client}; globalThis.WebSocketClient = WebSocketClient;`
      : undefined,
};
const bundle = await rolldown({ input: "page", platform: "browser", plugins: [page] });
const { output } = await bundle.generate({ format: "esm", minify: true });
const chunks = new Map(output.filter((one) => one.type === "chunk").map((chunk) => [chunk.fileName, chunk]));
// What is imported only when it is called for comes later.
const loaded = new Set();
const load = (name) => {
  if (loaded.has(name) || !chunks.has(name)) return;
  loaded.add(name);
  chunks.get(name).imports.forEach(load);
};
for (const [name, chunk] of chunks) if (chunk.isEntry) load(name);
const code = [...loaded].map((name) => chunks.get(name).code).join("\n");
const bytes = gzipSync(code, { level: 9 }).length;
const { name } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
console.error(`${name}: ${bytes} bytes of ${LIMIT}, minified and gzipped`);
if (bytes > LIMIT) process.exitCode = 1;
