import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** The node that `npm run dev` talks to. */
const node = process.env.LASTSEEN_URL ?? "http://127.0.0.1:8080";
const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** What the first view may be, compressed. */
const LIMIT = 200_000;

/** Fails a build whose first page, and all that this loads at once, has become too big. */
function sizeLimit(): Plugin {
  return {
    name: "size-limit",
    generateBundle(_, bundle) {
      const first = new Set<string>();
      const load = (name: string): void => {
        const chunk = bundle[name];
        if (first.has(name) || chunk?.type !== "chunk") return;
        first.add(name);
        chunk.imports.forEach(load);
        for (const css of chunk.viteMetadata?.importedCss ?? []) first.add(css);
      };
      for (const chunk of Object.values(bundle))
        if (chunk.type === "chunk" && chunk.isEntry) load(chunk.fileName);
      let bytes = 0;
      for (const name of first) {
        const file = bundle[name];
        if (file) bytes += gzipSync(file.type === "chunk" ? file.code : file.source).length;
      }
      if (bytes === 0 || bytes > LIMIT)
        this.error(`the first view is ${bytes} bytes of ${LIMIT}, compressed`);
    },
  };
}

export default defineConfig({
  plugins: [sizeLimit()],
  resolve: {
    // From its sources, as one checkout has both. The longer name first: the first that fits is taken.
    alias: [
      { find: "@lastseen/client/stores", replacement: source("../js/stores/index.ts") },
      { find: "@lastseen/client/http", replacement: source("../js/src/http.ts") },
      { find: "@lastseen/client", replacement: source("../js/src/index.ts") },
    ],
  },
  build: {
    target: "es2022",
    // Hashed names in one folder: the service lets browsers keep these for ever.
    assetsDir: "assets",
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      "/api": { target: node, changeOrigin: true },
      "/ws": { target: node, changeOrigin: true, ws: true },
    },
  },
});
