import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** The node that `npm run dev` talks to. */
const node = process.env.LASTSEEN_URL ?? "http://127.0.0.1:8080";
const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    // From its sources, as one checkout has both. The longer name first: the first that fits is taken.
    alias: [
      { find: "@lastseen/client/react", replacement: source("../js/react/index.ts") },
      { find: "@lastseen/client/http", replacement: source("../js/src/http.ts") },
      { find: "@lastseen/client", replacement: source("../js/src/index.ts") },
    ],
    // The hooks are to find the one React that the page has.
    dedupe: ["react", "react-dom"],
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
