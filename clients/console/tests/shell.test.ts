import { assert, property, string } from "fast-check";
import { expect, test } from "vitest";
import { rate } from "../src/cluster/rates";
import { readToken } from "../src/session";
import { KEYS, LEAVE_TERMINAL, PAGES, pressed } from "../src/shell/keys";
import { historyPath, placeOf, projectPath, taskPath } from "../src/shell/route";

test("g and a letter go to a page, whatever was pressed before", () => {
  for (const [key, { path }] of Object.entries(PAGES)) {
    const { pending } = pressed("g", pressed("x", null).pending);
    expect(pressed(key, pending)).toEqual({ pending: null, action: { kind: "go", path } });
  }
  expect(pressed("p", null).action).toEqual({ kind: "pause" });
  expect(pressed("z", "g")).toEqual({ pending: null, action: null });
});

test("every key that is told does something", () => {
  for (const [keys] of KEYS.filter(([keys]) => keys !== LEAVE_TERMINAL)) {
    const pressable = keys.startsWith("g ")
      ? []
      : keys.split(", ").map((key) => (key === "Esc" ? "Escape" : key));
    for (const key of pressable) expect(pressed(key, null).action, key).not.toBeNull();
  }
});

test("the path of a task or project leads to it, whatever its id", () => {
  assert(
    property(string({ unit: "binary-ascii", minLength: 1 }), (id) => {
      expect(placeOf(taskPath(id))).toEqual({ page: "task", id });
      expect(placeOf(projectPath(id))).toEqual({ page: "project", id });
    }),
  );
});

test("places", () => {
  expect(placeOf("/")).toEqual({ page: "tasks" });
  expect(placeOf("/tasks/")).toEqual({ page: "tasks" });
  expect(placeOf("/tasks/%")).toEqual({ page: "task", id: "%" });
  expect(placeOf("/nowhere")).toEqual({ page: "unknown" });
  expect(historyPath("task:a b")).toBe("/history?channel=task%3Aa+b");
});

test("a rate needs two counts of one life", () => {
  expect(rate(10, 30, 2000)).toBe(10);
  expect(rate(30, 10, 2000)).toBeNull();
  expect(rate(undefined, 10, 2000)).toBeNull();
  expect(rate(10, 10, 0)).toBeNull();
});

test("a token says who it is for; what is none says what would be", () => {
  const jwt = (claims: object): string =>
    ["", base64(JSON.stringify(claims)), ""].join(".").replace(/\+/g, "-").replace(/\//g, "_");
  const read = readToken(jwt({ sub: "Ännchen", exp: 1_800_000_000, roles: ["admin"] }));
  expect(read).toMatchObject({ user: "Ännchen", role: "admin", expires_at: "2027-01-15T08:00:00.000Z" });
  expect(readToken(jwt({ sub: "ann", exp: 1_800_000_000 })).role).toBe("user");
  expect(() => readToken("nonsense")).toThrow("no access token");
  expect(() => readToken(jwt({ sub: "ann" }))).toThrow("needs `sub` and `exp`");
});

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
