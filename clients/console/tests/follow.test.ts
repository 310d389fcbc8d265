import type { TaskState } from "@lastseen/client/http";
import { TaskOutput } from "@lastseen/client/stores";
import { expect, test } from "vitest";
import { begunOf, isShort, REPLAYED, startOf } from "../src/task/follow";
import { Reading } from "../src/task/reading";
import { event } from "./events";

const screen = {
  columns: 100,
  rows: 30,
  offset: REPLAYED,
  text: "",
  cursor: { line: 0, column: 0, visible: true },
};
const STATE: TaskState = {
  id: "build",
  project_id: "shop",
  user_id: "ann",
  status: "paused",
  started_at: "2026-01-31T12:00:00Z",
  ended_at: null,
  progress: { percent: 40 },
  confirmation: null,
  result: null,
  screen: null,
  position: "k3f9:0=7",
};

test("plain output and a short terminal are shown from their start, a long terminal from its screen", () => {
  expect(isShort(STATE)).toBe(true);
  expect(isShort({ ...STATE, screen })).toBe(true);
  expect(isShort({ ...STATE, screen: { ...screen, offset: REPLAYED + 1 } })).toBe(false);
});

test("either way the state goes on from where it was asked", () => {
  const view = { projectId: "shop", started: true, status: "paused", progress: { percent: 40 } };
  expect(startOf(STATE, true)).toMatchObject({ after: "earliest", view, viewAt: "k3f9:0=7" });
  expect(startOf(STATE, false)).toMatchObject({ after: "k3f9:0=7", view });
  expect(startOf(STATE, false)).not.toHaveProperty("viewAt");
});

test("the first event says what runs, and on a terminal of which size", () => {
  const started = (data: Record<string, unknown>) =>
    begunOf([event("task_paused"), event("task_started", data)]);
  expect(begunOf([])).toEqual({ command: undefined, size: undefined });
  expect(started({ command: ["make", "-j2", "a b", "it's"] }).command).toBe("make -j2 'a b' 'it'\\''s'");
  expect(started({ pty: true, columns: 132, rows: 50 }).size).toEqual({ columns: 132, rows: 50 });
  expect(started({ pty: true }).size).toEqual({ columns: 80, rows: 24 });
  expect(started({ pty: true, columns: -1, rows: "x" }).size).toEqual({ columns: 80, rows: 24 });
  expect(started({ pty: false, columns: 132, rows: 50 }).size).toBeUndefined();
});

test("an output is read once, however often it is shown", () => {
  const chunk = (stream: string, text: string) => ({
    stream,
    offset: 0,
    data: new TextEncoder().encode(text),
    missing: 0,
    kind: undefined,
  });
  const reading = new Reading();
  const [one, two, three] = [chunk("stdout", "one\n"), chunk("stderr", "two\n"), chunk("pty", "three")];
  reading.take(new TaskOutput([one]));
  reading.take(new TaskOutput([one]));
  expect(reading.take(new TaskOutput([one, two])).lines.lines.map(({ text }) => text)).toEqual([
    "one",
    "two",
  ]);
  expect(reading.isTerminal).toBe(false);
  expect(reading.take(new TaskOutput([one, two, three])).isTerminal).toBe(true);
});
