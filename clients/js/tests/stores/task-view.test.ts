/** The fold of a task, held to the vectors that the Python client is held to. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { LastseenEvent } from "../../src/events.js";
import { taskAfter, taskViewOf, UNKNOWN_TASK } from "../../stores/task-view.js";

interface Vector {
  readonly name: string;
  readonly events: readonly LastseenEvent[];
  readonly view: { readonly [name: string]: unknown };
}

const FILE = new URL("../../../../tests/protocol/folds/task_state.json", import.meta.url);
const { vectors } = JSON.parse(readFileSync(FILE, "utf8")) as { vectors: Vector[] };

test.each(vectors.map((vector) => [vector.name, vector] as const))("%s", (_, { events, view }) => {
  const { projectId, started, status, progress, confirmation, result } = events.reduce(
    taskAfter,
    UNKNOWN_TASK,
  );
  expect({
    project_id: projectId,
    started,
    status: status ?? null,
    progress: progress ?? null,
    confirmation: confirmation ?? null,
    result: result ?? null,
  }).toEqual(view);
});

test.each(vectors.filter(({ view }) => view.status !== null).map((vector) => [vector.name, vector] as const))(
  "the service's answer goes on where the events stood: %s",
  (_, { events }) => {
    const view = events.reduce(taskAfter, UNKNOWN_TASK);
    const answer = {
      project_id: view.projectId,
      started_at: view.started ? "2026-01-31T10:00:00Z" : null,
      status: view.status ?? "running",
      progress: view.progress ?? null,
      confirmation: view.confirmation ?? null,
      result: view.result ?? null,
    };
    expect(taskViewOf(answer)).toEqual(view);
  },
);
