import { assert, constantFrom, property, record, string } from "fast-check";
import { expect, test } from "vitest";
import { fits, summary } from "../src/history/filter";
import { event } from "./events";

const NONE = { channel: "", type: "", text: "" };
const said = event("task_output", { stream: "stdout", offset: 0, bytes: 5, text: "Grüße\n" });

test("without a filter everything is shown", () => {
  expect(fits(said, NONE)).toBe(true);
  expect(fits(event("project_created"), NONE)).toBe(true);
});

test.each([
  [{ type: "output" }, true],
  [{ type: "task_started" }, false],
  [{ channel: "task:build" }, true],
  [{ channel: "shop" }, true],
  [{ channel: "task:other" }, false],
  [{ text: "grüße" }, true],
  [{ text: "ANN" }, true],
  [{ text: "bob" }, false],
  [{ text: "grüße", type: "started" }, false],
])("%j", (filter, isShown) => {
  expect(fits(said, { ...NONE, ...filter })).toBe(isShown);
});

test("each filter only ever takes away", () => {
  const part = constantFrom("", "task", "out", "shop", "zzz", "ü");
  assert(
    property(record({ channel: part, type: part, text: part }), (filter) => {
      const parts = (["channel", "type", "text"] as const).map((name) => ({ ...NONE, [name]: filter[name] }));
      return fits(said, filter) === parts.every((one) => fits(said, one));
    }),
  );
});

test("an event in a line says what was said, whatever the data is", () => {
  expect(summary(said)).toBe("Grüße");
  expect(summary(event("task_confirmation_required", { question: "May I?" }))).toBe("May I?");
  expect(summary(event("task_progress_update", { percent: 40 }))).toBe('{"percent":40}');
  assert(property(string(), (text) => typeof summary(event("note", { text })) === "string"));
});
