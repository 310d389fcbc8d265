import { defineConfig, mergeConfig } from "vitest/config";
import built from "./vite.config";

// Apart from how the pages are built, for which vitest is not installed.
export default mergeConfig(
  built,
  defineConfig({ test: { setupFiles: process.env.CI ? ["tests/seeded.ts"] : [] } }),
);
