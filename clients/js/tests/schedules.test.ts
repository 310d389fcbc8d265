/** Schedules in which something once came twice, or never: found at random, kept by name. */

import { test } from "vitest";
import { type Act, World } from "./world.js";

const accept: Act = (world) => world.accept();
const reload: Act = (world) => world.reload();
const cut: Act = (world) => world.cut(1006);
const ping: Act = ({ server }) => server.ping();
const newEpoch: Act = (world) => {
  world.server.beginEpoch();
  world.cut(1006);
};
const deliver =
  (count: number): Act =>
  (world) =>
    world.deliver(count);
const replay =
  (group: number, steps: number): Act =>
  ({ server }) =>
    server.replay(group, steps);
const append =
  (partition: number, ...channels: string[]): Act =>
  ({ server }) =>
    server.append(partition, channels, 0, false);
const fallBehind =
  (...channels: string[]): Act =>
  ({ server }) =>
    server.fallBehind(channels);
const endTask =
  (partition: number, task: string): Act =>
  ({ server }) =>
    server.endTask(partition, task);
const retain =
  (partition: number, upto: number): Act =>
  ({ server }) =>
    server.retain(partition, upto);
const wait =
  (ms: number): Act =>
  ({ clock }) =>
    clock.advance(ms);
const take =
  (count: number): Act =>
  (world) =>
    world.take(count);
const leave =
  (which: number): Act =>
  (world) =>
    world.leave(which);
const follow =
  (channel: string, kind: "handler" | "stream", start: "earliest" | "now" | "had"): Act =>
  (world) =>
    world.follow(channel, kind, start);
const withoutHistory: Act = ({ server }) => {
  server.hasHistory = false;
};

const SCHEDULES: Readonly<Record<string, readonly Act[]>> = {
  "the answer to a start whose caller has left": [
    withoutHistory,
    accept,
    deliver(1),
    append(0, "project:p", "user:ann"),
    follow("project:p", "handler", "earliest"),
    leave(0),
    follow("project:p", "handler", "now"),
  ],
  "two starts, the caller of the first has left, and one who goes on beside them": [
    accept,
    deliver(1),
    endTask(0, "t"),
    replay(0, 1),
    follow("project:p", "handler", "earliest"),
    leave(0),
    follow("project:p", "handler", "earliest"),
    follow("project:p", "handler", "now"),
  ],
  "a start that the line's end leaves unanswered, and retention": [
    follow("project:p", "stream", "had"),
    accept,
    append(0, "user:ann"),
    endTask(0, "t"),
    replay(0, 3),
    append(1, "project:p", "user:ann"),
    deliver(5),
    retain(1, 0),
    follow("project:p", "handler", "earliest"),
    cut,
  ],
  "an answer without a start to a channel that is asked for with one": [
    accept,
    append(0, "project:p", "user:ann"),
    follow("project:p", "handler", "had"),
    ping,
    follow("project:p", "handler", "earliest"),
  ],
  "the same for what came to the user": [
    accept,
    reload,
    accept,
    append(1, "user:ann"),
    follow("user:ann", "handler", "had"),
    append(1, "broadcast", "user:ann"),
    follow("user:ann", "handler", "earliest"),
  ],
  "a slow stream that goes on while the next connection is made": [
    endTask(0, "t"),
    accept,
    endTask(1, "t"),
    append(0, "project:p"),
    follow("project:p", "stream", "earliest"),
    replay(0, 1),
    replay(0, 3),
    append(0, "project:p"),
    ping,
    deliver(8),
    wait(70_000),
    take(2),
  ],
  "one who began now beside one from earliest, and a cut before all of it came": [
    follow("project:p", "handler", "now"),
    accept,
    replay(0, 3),
    deliver(9),
    follow("project:p", "handler", "earliest"),
    append(0, "project:p"),
    replay(0, 1),
    append(1, "project:p"),
    deliver(2),
    cut,
    retain(1, 0),
  ],
  "the same, and a slow stream": [
    follow("project:p", "handler", "now"),
    accept,
    replay(0, 3),
    deliver(9),
    follow("project:p", "stream", "earliest"),
    append(1, "project:p"),
    append(1, "project:p"),
    append(1, "project:p"),
    replay(0, 3),
    deliver(4),
    append(0, "project:p"),
    retain(0, 0),
  ],
  "a slow stream whose task ended, while another start is asked for": [
    follow("task:t", "handler", "earliest"),
    accept,
    follow("task:u", "handler", "earliest"),
    follow("task:t", "stream", "earliest"),
    deliver(3),
    follow("task:t", "handler", "earliest"),
    append(0, "task:t"),
    append(0, "task:t", "user:ann"),
    replay(0, 2),
    replay(1, 1),
    fallBehind("user:ann"),
    replay(3, 1),
    endTask(0, "t"),
    fallBehind("project:p"),
    replay(2, 2),
    deliver(4),
    deliver(6),
    leave(1),
  ],
  "a user channel that began live and has not heard why": [
    withoutHistory,
    append(0, "user:ann"),
    accept,
    deliver(1),
    cut,
    follow("user:ann", "handler", "had"),
  ],
};

const RELOADED: Readonly<Record<string, readonly Act[]>> = {
  "a stream whose task ended, and another one who follows it": [
    accept,
    follow("user:ann", "handler", "earliest"),
    follow("task:t", "stream", "earliest"),
    replay(2, 1),
    deliver(1),
    endTask(0, "t"),
    deliver(5),
    follow("task:t", "handler", "had"),
    deliver(2),
  ],
  "a stream from earliest behind a handler that has had it": [
    follow("task:t", "handler", "earliest"),
    append(0, "task:t"),
    accept,
    replay(1, 1),
    deliver(4),
    leave(0),
    endTask(0, "t"),
    wait(70_000),
    follow("task:t", "stream", "earliest"),
    accept,
    replay(3, 2),
    deliver(7),
  ],
  "what is stored of an epoch that is over": [
    append(0, "user:ann"),
    accept,
    deliver(1),
    replay(0, 1),
    deliver(2),
    newEpoch,
    follow("user:ann", "handler", "earliest"),
    wait(5_000),
    follow("user:ann", "stream", "had"),
    accept,
    replay(0, 1),
    deliver(7),
  ],
};

const CASES = [
  ...Object.entries(SCHEDULES).map(([name, acts]) => [name, acts, false] as const),
  ...Object.entries(RELOADED).map(([name, acts]) => [name, [...acts, reload], true] as const),
];

test.each(CASES)("%s", async (_name, acts, withStorage) => {
  await new World(() => 0, withStorage).play(acts);
});
