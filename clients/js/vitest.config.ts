import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const react18 = (name: string): string =>
  fileURLToPath(new URL(`./tests/react-18/node_modules/${name}`, import.meta.url));
const hooks = { include: ["tests/react/*.test.tsx"], environment: "happy-dom" };

export default defineConfig({
  test: {
    pool: "threads",
    maxWorkers: 1,
    typecheck: { enabled: false },
    setupFiles: process.env.CI ? ["tests/seeded.ts"] : [],
    projects: [
      { extends: true, test: { name: "core", include: ["tests/**/*.test.ts"] } },
      { extends: true, test: { name: "react-19", ...hooks } },
      {
        extends: true,
        resolve: { alias: { react: react18("react"), "react-dom": react18("react-dom") } },
        test: { name: "react-18", ...hooks },
      },
    ],
  },
});
