/** Fails where what a page loads of the core, minified and gzipped, is more than it may be. */

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";

const LIMIT = 8 * 1024;

const bundle = await rolldown({
  input: new URL("../dist/index.js", import.meta.url).pathname,
  platform: "browser",
});
const { output } = await bundle.generate({ format: "esm", minify: true });
const bytes = gzipSync(output.map((chunk) => ("code" in chunk ? chunk.code : "")).join("\n"), {
  level: 9,
}).length;
const { name } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
console.error(`${name}: ${bytes} bytes of ${LIMIT}, minified and gzipped`);
if (bytes > LIMIT) process.exitCode = 1;
