import { expect, test } from "vitest";
import { when } from "../src/history/when";

// By the time zone of the machine, as a browser goes by its own.
const NOW = new Date(2026, 10, 28, 14, 30, 15).getTime();

test.each([
  ["yesterday 10:00", new Date(2026, 10, 27, 10, 0)],
  [" Yesterday 9:05 ", new Date(2026, 10, 27, 9, 5)],
  ["yesterday", new Date(2026, 10, 27, 0, 0)],
  ["today 10:00", new Date(2026, 10, 28, 10, 0)],
  ["10:00", new Date(2026, 10, 28, 10, 0)],
  ["2 h ago", new Date(NOW - 7_200_000)],
  ["15 minutes ago", new Date(NOW - 900_000)],
  ["3 days ago", new Date(NOW - 3 * 86_400_000)],
  ["30 s ago", new Date(NOW - 30_000)],
  ["2026-01-31T12:00:00Z", new Date(Date.UTC(2026, 0, 31, 12))],
  ["2026-01-31 12:00", new Date(2026, 0, 31, 12)],
])("%s", (text, wanted) => {
  expect(when(text, NOW)?.getTime()).toBe(wanted.getTime());
});

test.each(["", "   ", "soon", "yesterday at ten", "25 o'clock"])("%j is no time", (text) => {
  expect(when(text, NOW)).toBeNull();
});

test.each(["29:00", "yesterday 10:75"])("%s would be another hour than it says, so it is none", (text) => {
  expect(when(text, NOW)).toBeNull();
});
