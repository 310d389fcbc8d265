import { array, assert, property, string } from "fast-check";
import { expect, test } from "vitest";
import { back, FIRST, onward, pathOf } from "../src/parts/paging";

test("the way back is the way that was come", () => {
  assert(
    property(array(string({ minLength: 1 })), (tokens) => {
      let trail = FIRST;
      const seen = [trail];
      for (const token of tokens) {
        trail = onward(trail, token);
        seen.push(trail);
      }
      while (seen.length > 0) {
        expect(trail).toEqual(seen.pop());
        trail = back(trail);
      }
      expect(trail).toEqual(FIRST);
    }),
  );
});

test("where nothing follows there is no way on", () => {
  const trail = onward(FIRST, "a");
  expect(onward(trail, null)).toBe(trail);
  expect(onward(trail, undefined)).toBe(trail);
});

test("a page is asked for by what the one before named", () => {
  expect(pathOf("quarantine", "before", FIRST)).toBe("quarantine");
  expect(pathOf("quarantine", "before", ["1-2-3-4", "1-2-3-3"])).toBe("quarantine?before=1-2-3-3");
  expect(pathOf("projects?limit=50", "after", ["a&b"])).toBe("projects?limit=50&after=a%26b");
});
