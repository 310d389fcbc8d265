import { defineConfig, type UserConfigExport } from "vite";

const config: UserConfigExport = defineConfig({ base: "./", build: { target: "es2022", emptyOutDir: true } });

export default config;
