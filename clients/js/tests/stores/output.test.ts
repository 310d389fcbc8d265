/** Output in chunks: each byte once, whatever comes twice or not at all, and what is new for whoever has shown the rest. */

import { array, assert, integer, property, string } from "fast-check";
import { expect, test } from "vitest";
import { OutputCollector } from "../../stores/output.js";

const ENCODER = new TextEncoder();
const MUCH = 1_000_000;

function chunk(offset: number, text: string, stream = "stdout"): object {
  return { stream, offset, bytes: ENCODER.encode(text).length, text };
}

test("whoever shows what is new has shown all, however it is cut and however much of it comes again", () => {
  const pieces = array(string({ unit: "grapheme", minLength: 1, maxLength: 9 }), {
    minLength: 1,
    maxLength: 30,
  });
  assert(
    property(
      pieces,
      array(integer({ min: 0, max: 29 }), { maxLength: 20 }),
      integer({ min: 1, max: 5 }),
      (texts, again, each) => {
        const collector = new OutputCollector(MUCH, true);
        let [offset, seen, shown] = [0, 0, ""];
        const sent: object[] = [];
        texts.forEach((text, index) => {
          const data = chunk(offset, text);
          offset += ENCODER.encode(text).length;
          sent.push(data);
          collector.add(data);
          for (const one of again) if (one < sent.length && one % 3 === index % 3) collector.add(sent[one]);
          if (index % each > 0) return;
          const { output } = collector;
          for (const { data: bytes } of output.since(seen))
            shown += new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
          seen = output.end;
        });
        const { output } = collector;
        for (const { data: bytes } of output.since(seen))
          shown += new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        expect(shown).toBe(texts.join(""));
        expect(output.text()).toBe(texts.join(""));
        expect([output.bytes, output.missing]).toEqual([offset, 0]);
      },
    ),
  );
});

test("what overlaps is cut, what is missing is counted, what is no chunk is left out", () => {
  const collector = new OutputCollector(MUCH, true);
  for (const data of [chunk(0, "abc"), chunk(2, "cd"), chunk(9, "xy"), chunk(1, "b"), { text: "?" }, {}])
    collector.add(data);
  collector.add({ stream: "stdout", offset: 11, bytes: 7, text: "z" });
  collector.add({ stream: "stdout", offset: 11, bytes: 3, base64: "###" });
  const { output } = collector;
  expect(output.text()).toBe("abcdxy");
  expect(output.chunks.map(({ offset, missing }) => [offset, missing])).toEqual([
    [0, 0],
    [3, 0],
    [9, 5],
  ]);
  expect(output.missing).toBe(5);
});

test("a character that two chunks share is one, and streams are told apart", () => {
  const collector = new OutputCollector(MUCH, true);
  const euro = ENCODER.encode("€");
  collector.add({
    stream: "stdout",
    offset: 0,
    bytes: 1,
    base64: btoa(String.fromCharCode(...euro.subarray(0, 1))),
  });
  collector.add(chunk(0, "oops", "stderr"));
  collector.add({
    stream: "stdout",
    offset: 1,
    bytes: 2,
    base64: btoa(String.fromCharCode(...euro.subarray(1))),
  });
  expect(collector.output.text("stdout")).toBe("€");
  expect(collector.output.text("stderr")).toBe("oops");
});

test("an output that was given out stays as it is, though its beginning is kept no more", () => {
  const collector = new OutputCollector(10, true);
  collector.add(chunk(0, "0123456789"));
  const early = collector.output;
  for (let offset = 10; offset < 30; offset += 5) collector.add(chunk(offset, "abcde"));
  const { output } = collector;
  expect(early.text()).toBe("0123456789");
  expect([output.text(), output.first, output.end, output.bytes]).toEqual(["abcdeabcde", 3, 5, 30]);
  expect(output.since(early.end).length).toBe(2);
});

test("begun in the middle, a stream begins with what comes first", () => {
  const collector = new OutputCollector(MUCH, false);
  collector.add(chunk(500, "on"));
  collector.add(chunk(503, "!"));
  expect(collector.output.missing).toBe(1);
});
