import type { LastseenEvent } from "@lastseen/client";
import type { HistoryPage } from "@lastseen/client/http";
import { taskAfter, UNKNOWN_TASK } from "@lastseen/client/stores";
import { array, assert, asyncProperty, constantFrom, integer, property, record } from "fast-check";
import { expect, test } from "vitest";
import { projectBefore, type Read, taskBefore } from "../src/history/past";
import { projectAfter, UNKNOWN_PROJECT } from "../src/history/project";
import { event } from "./events";

/** The service, as `GET /events` reads: pages of `most` events that may be empty on the way forward. */
function log(events: readonly LastseenEvent[], most: number, gap?: HistoryPage["gap"]): Read {
  return async (query) => {
    const types = query.getAll("type");
    const size = Math.min(most, Number(query.get("limit")));
    const until = query.get("until") ?? "";
    const ofTypes = (one: LastseenEvent): boolean => types.length === 0 || types.includes(one.type);
    const range = events.filter((one) => (one.appended_at ?? "") < until);
    const watermark = `p${range.length}`;
    const before = query.get("before");
    if (before !== null) {
      const upto = before === "latest" ? range.length : Number(before.slice(1));
      const found = range.map((one, at) => ({ one, at })).filter(({ one, at }) => at < upto && ofTypes(one));
      const shown = found.slice(-size).reverse();
      const previous = found.length > size ? `p${shown.at(-1)?.at}` : null;
      return {
        events: shown.map(({ one }) => one),
        next: watermark,
        previous,
        watermark,
        gap: previous === null ? (gap ?? null) : null,
      };
    }
    const after = query.get("after") === "earliest" ? -1 : Number(query.get("after")?.slice(1));
    if (after === -1 && range.length > 0)
      return { events: [], next: "p0", previous: null, watermark, gap: gap ?? null };
    const shown = range.slice(Math.max(0, after), after + size);
    return { events: shown, next: `p${Math.max(0, after) + shown.length}`, previous: null, watermark };
  };
}

const time = (second: number): string => new Date(Date.UTC(2026, 0, 31, 12) + second * 1000).toISOString();

function timed(events: readonly LastseenEvent[]): LastseenEvent[] {
  return events.map((one, at) => ({ ...one, offset: at, appended_at: time(at) }));
}

const KINDS: readonly (readonly [string, Record<string, unknown>])[] = [
  ["task_started", {}],
  ["task_output", { stream: "stdout" }],
  ["task_progress_update", { percent: 10 }],
  ["task_progress_update", { percent: 90 }],
  ["task_paused", {}],
  ["task_resumed", {}],
  ["task_confirmation_required", { confirmation_id: "c1", question: "?" }],
  ["task_status_change", { status: "running" }],
  ["task_status_change", { status: "odd" }],
  ["task_command", { state: "applied" }],
];

test("a task at any time is what all of its events up to then add up to", async () => {
  const happened = array(constantFrom(...KINDS), { maxLength: 30 });
  await assert(
    asyncProperty(
      happened,
      integer({ min: 0, max: 32 }),
      integer({ min: 1, max: 5 }),
      async (kinds, at, most) => {
        const events = timed(kinds.map(([type, data]) => event(type, data)));
        const { view, isCut } = await taskBefore(log(events, most), "build", time(at));
        expect(view).toEqual(events.slice(0, at).reduce(taskAfter, UNKNOWN_TASK));
        expect(isCut).toBe(false);
      },
    ),
  );
});

test("the last progress is another project's: that of the task's own counts", async () => {
  const other = { project_id: "other" };
  const events = timed([
    event("task_started"),
    event("task_progress_update", { percent: 40 }),
    event("task_progress_update", { percent: 80 }, other),
    event("task_paused", {}, other),
  ]);
  const { view } = await taskBefore(log(events, 10), "build", time(10));
  expect(view).toMatchObject({ status: "running", progress: { percent: 40 } });
});

test("what was dropped before is told", async () => {
  const gap = { requested: "earliest", earliest: "p0", reason: "retention" as const };
  const events = timed([event("task_resumed")]);
  expect((await taskBefore(log(events, 10, gap), "build", time(10))).isCut).toBe(true);
  expect((await projectBefore(log(timed([event("project_created")]), 10, gap), "shop", time(10))).isCut).toBe(
    true,
  );
  const quarantined = { ...gap, reason: "quarantine" as const };
  expect((await taskBefore(log(events, 10, quarantined), "build", time(10))).isCut).toBe(false);
});

const member = (user: string, role?: string): LastseenEvent =>
  event(
    "project_member_added",
    { user_id: user, ...(role ? { role } : {}) },
    { channels: ["project:shop", `user:${user}`] },
  );
const removed = (user: string): LastseenEvent =>
  event("project_member_removed", { user_id: user }, { channels: ["project:shop", `user:${user}`] });

test("a project at a time: its name and its members as they were", async () => {
  const events = timed([
    event("project_created", { name: "Shop", owner_id: "ann" }),
    member("ben", "viewer"),
    event("project_updated", { name: "The shop" }),
    member("ben"),
    member("cid", "king"),
    removed("ann"),
    event("project_created", { name: "Taken", owner_id: "eve" }),
    event("project_deleted"),
    member("eve", "owner"),
  ]);
  const at = async (second: number) => (await projectBefore(log(events, 2), "shop", time(second))).view;
  expect(await at(0)).toEqual(UNKNOWN_PROJECT);
  expect(await at(2)).toMatchObject({
    name: "Shop",
    members: new Map([
      ["ann", "owner"],
      ["ben", "viewer"],
    ]),
  });
  expect(await at(7)).toMatchObject({
    name: "The shop",
    deleted: false,
    members: new Map([["ben", "member"]]),
  });
  expect(await at(20)).toMatchObject({ deleted: true, members: new Map() });
});

test("who is a member was told last, and nobody is by halves", () => {
  const users = constantFrom("ann", "ben");
  const roles = constantFrom("owner", "member", "viewer", undefined, "removed");
  assert(
    property(array(record({ user: users, role: roles })), (changes) => {
      const events = changes.map(({ user, role }) =>
        role === "removed" ? removed(user) : member(user, role),
      );
      const { members } = events.reduce(projectAfter, UNKNOWN_PROJECT);
      for (const user of ["ann", "ben"]) {
        const last = changes.filter((change) => change.user === user).at(-1);
        const wanted = last === undefined || last.role === "removed" ? undefined : (last.role ?? "member");
        expect(members.get(user)).toBe(wanted);
      }
    }),
  );
});
