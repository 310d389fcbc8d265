import { assert, integer, property } from "fast-check";
import { expect, test } from "vitest";
import { endingOf, outcomeOf, sentenceOf } from "../src/parts/sentences";
import { clock, duration, shortTime } from "../src/parts/time";

test.each([
  [0, "0 s"],
  [12_400, "12 s"],
  [60_000, "1 min"],
  [185_000, "3 min 5 s"],
  [7_800_000, "2 h 10 min"],
  [3 * 86_400_000 + 4 * 3_600_000, "3 d 4 h"],
  [-5, "0 s"],
])("%d ms are %s", (ms, wanted) => {
  expect(duration(ms)).toBe(wanted);
});

test("a duration has two parts at most, and none of them is 60 of the smaller", () => {
  assert(
    property(integer({ min: 0, max: 10 ** 10 }), (ms) => {
      const numbers = duration(ms).match(/\d+/g) ?? [];
      return numbers.length >= 1 && numbers.length <= 2 && Number(numbers[1] ?? 0) < 60;
    }),
  );
});

test("a time of today is its clock, another has its day", () => {
  const now = new Date(2026, 10, 28, 14, 30, 15).getTime();
  const before = new Date(2026, 10, 27, 9, 5, 1).getTime();
  expect(shortTime(now, now)).toBe(clock(now));
  expect(shortTime(before, now)).toContain(clock(before));
  expect(shortTime(before, now)).toContain("27");
});

test("what became of a command is a sentence", () => {
  expect(outcomeOf({ command: "cancel", state: "applied", reason: null })).toBe("Cancel was applied.");
  expect(outcomeOf({ command: "task_input", state: "rejected", reason: "no_input" })).toBe(
    "Input was refused: it has no open input; start it with --input.",
  );
  expect(outcomeOf({ command: "own_command", state: "odd", reason: "some_reason" })).toBe(
    "own_command odd: some reason.",
  );
});

test("why a task has ended", () => {
  expect(endingOf(null)).toBeNull();
  expect(endingOf({})).toBeNull();
  expect(endingOf({ exit_code: 0 })).toBe("exit code 0");
  expect(endingOf({ exit_code: null, signal: "SIGKILL", by: "ann" })).toBe("signal SIGKILL, by ann");
  expect(endingOf({ reason: "runner_lost" })).toBe("the runner of the task is lost");
});

test("an error is a sentence, by its code where that says what to do", () => {
  expect(sentenceOf(Object.assign(new Error("x"), { code: "access_denied" }))).toContain("ask an owner");
  expect(sentenceOf(new Error("it broke"))).toBe("It broke.");
  expect(sentenceOf(new Error("Did it?"))).toBe("Did it?");
});
