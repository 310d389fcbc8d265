import { array, assert, integer, property } from "fast-check";
import { expect, test } from "vitest";
import { isChannel } from "../src/history/channels";
import { Merged } from "../src/history/merged";
import { event } from "./events";

test("each event once, in the order in which they came, the last ones kept", () => {
  const ids = array(integer({ min: 0, max: 60 }), { maxLength: 60 });
  assert(
    property(ids, integer({ min: 1, max: 100 }), (numbers, most) => {
      const merged = new Merged(most);
      for (const number of numbers) merged.add(event("note", {}, { id: `e${number}` }));
      const shown = merged.events.map(({ id }) => id);
      expect(new Set(shown).size).toBe(shown.length);
      expect(shown.length).toBeLessThanOrEqual(most * 1.25);
      if (most >= 61) expect(shown).toEqual([...new Set(numbers)].map((number) => `e${number}`));
      expect(merged.events).toBe(merged.events);
    }),
  );
});

test.each([
  ["task:build-7", true],
  ["project:a.b", true],
  ["system", true],
  ["broadcast", true],
  ["task:", false],
  ["build-7", false],
  ["project:a b", false],
  ["", false],
])("%j is a channel: %s", (text, wanted) => {
  expect(isChannel(text)).toBe(wanted);
});
