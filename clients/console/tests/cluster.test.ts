import { array, assert, boolean, constantFrom, integer, property, record } from "fast-check";
import { expect, test } from "vitest";
import { endOf } from "../src/cluster/answer";
import { lagOf } from "../src/cluster/lags";
import { type NodeSaid, nodeRows } from "../src/cluster/nodes";

const said = (node: string, incarnation: string, answering: boolean): NodeSaid => ({
  node,
  incarnation,
  connections: 1,
  users: 1,
  answering,
  lease_until: answering ? null : "2026-01-31T12:00:10Z",
});

test("a node that was killed and started again is one row, its former process told below", () => {
  const rows = nodeRows([said("node-2", "b", true), said("node-1", "a", false), said("node-1", "c", true)]);
  expect(rows.map(({ node, answering, former }) => [node, answering, former.length])).toEqual([
    ["node-1", true, 1],
    ["node-2", true, 0],
  ]);
  expect(rows[0]?.former[0]).toMatchObject({ incarnation: "a", lease_until: "2026-01-31T12:00:10Z" });
});

test("each name has one row, of the process that joined last; none is left out", () => {
  const nodes = array(
    record({
      node: constantFrom("n1", "n2", "n3"),
      joined: integer({ min: 0, max: 99 }),
      answers: boolean(),
    }),
  );
  assert(
    property(nodes, (made) => {
      const all = made.map(({ node, joined, answers }, at) =>
        said(node, `${String(joined).padStart(2, "0")}-${at}`, answers),
      );
      const rows = nodeRows(all);
      expect(new Set(rows.map(({ node }) => node)).size).toBe(rows.length);
      expect(rows.reduce((sum, { former }) => sum + 1 + former.length, 0)).toBe(all.length);
      for (const { incarnation, former } of rows)
        expect(former.every((one) => one.incarnation < incarnation)).toBe(true);
    }),
  );
});

test("a lag in words", () => {
  expect(lagOf(null).text).toBe("not known");
  expect(lagOf(0)).toEqual({ kind: "none", text: "does not lag" });
  expect(lagOf(1)).toEqual({ kind: "some", text: "lags by 1 event" });
  expect(lagOf(12_000, 9_000)).toEqual({ kind: "much", text: "lags by 12,000 events, and it grows" });
  expect(lagOf(900, 12_000).text).toBe("lags by 900 events, and catches up");
});

test("where a partition's end is not known, neither is the log's", () => {
  const answer = (...ends: (number | null)[]) => ({ partitions: ends.map((end) => ({ end })) }) as never;
  expect(endOf(answer(3, 4))).toBe(7);
  expect(endOf(answer(3, null))).toBeNull();
});
