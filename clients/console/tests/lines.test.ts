import type { OutputChunk } from "@lastseen/client/stores";
import { array, assert, constantFrom, integer, property, string } from "fast-check";
import { expect, test } from "vitest";
import { Lines, LONGEST } from "../src/task/lines";

const encoder = new TextEncoder();

function chunk(data: string | Uint8Array, more: Partial<OutputChunk> = {}): OutputChunk {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  return { stream: "stdout", offset: 0, data: bytes, missing: 0, kind: undefined, ...more };
}

function all(lines: Lines): string[] {
  return [...lines.lines, ...lines.open].map(({ text }) => text);
}

function of(...chunks: (string | OutputChunk)[]): Lines {
  const lines = new Lines();
  for (const one of chunks) lines.add(typeof one === "string" ? chunk(one) : one);
  return lines;
}

test("however the bytes are cut, the lines are the same", () => {
  const piece = constantFrom("Grüße", "日本", "\n", "\r", "\r\n", "\u001b[1mbold\u001b[0m", "a b", "🎉");
  assert(
    property(array(piece), array(integer({ min: 1, max: 7 })), (pieces, sizes) => {
      const bytes = encoder.encode(pieces.join(""));
      const lines = new Lines();
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const size = sizes[turn % sizes.length] ?? 3;
        lines.add(chunk(bytes.subarray(at, at + size)));
        at += size;
      }
      expect(all(lines)).toEqual(all(of(pieces.join(""))));
    }),
    { numRuns: 1_000 },
  );
});

test("text of printable characters is shown as it is", () => {
  assert(
    property(array(string({ unit: "grapheme" }), { minLength: 1 }), (texts) => {
      expect(of(`${texts.join("\n")}\n`).lines.map(({ text }) => text)).toEqual(texts);
    }),
  );
});

test.each([
  ["10 %\r20 %\r30 %", ["30 %"]],
  ["10 %\r20 %\r\nnext", ["20 %", "next"]],
  ["\u001b[31mred\u001b[0m\n", ["red"]],
  ["\u001b]0;title\u0007text\n", ["text"]],
  ["a\n\nb\n", ["a", "", "b"]],
  ["a\r\n\r\r", ["a"]],
  ["\r\rb", ["b"]],
])("%j", (text, wanted) => {
  expect(all(of(text))).toEqual(wanted);
});

test("a bar that is drawn over and over takes no more room than one line", () => {
  const lines = new Lines();
  for (let percent = 0; percent <= 100_000; percent += 1) lines.add(chunk(`${percent} of 100000\r`));
  expect(all(lines)).toEqual(["100000 of 100000"]);
});

test("what is missing is told where it is missing", () => {
  const lines = of("before, in", chunk("after\n", { missing: 12 }));
  expect(all(lines)).toEqual(["before, in", "… 12 bytes are missing …", "after"]);
});

test("streams are lines of their own", () => {
  const lines = of("out ", chunk("err\n", { stream: "stderr" }), "put\n");
  expect(lines.lines).toEqual([
    { stream: "stderr", text: "err" },
    { stream: "stdout", text: "out put" },
  ]);
});

test("the last lines are kept, and how many went before them", () => {
  const lines = new Lines(100);
  for (let number = 0; number < 1000; number += 1) lines.add(chunk(`${number}\n`));
  expect(lines.lines.at(-1)?.text).toBe("999");
  expect(lines.lines.length).toBeLessThanOrEqual(110);
  expect(lines.lines[0]?.text).toBe(String(lines.dropped));
});

test("a line without an end is cut, not kept for ever", () => {
  const lines = new Lines();
  for (let count = 0; count < 10; count += 1) lines.add(chunk("x".repeat(LONGEST / 4)));
  expect(all(lines).map((text) => text.length)).toEqual([LONGEST, LONGEST, LONGEST / 2]);
});
