/**
 * What the events of a task's channel have said of it so far: a fold, by the same rules as `lastseen.task_state` in
 * Python. Begun with `taskViewOf` a state that the service has answered, and continued with the events after its position, it comes to what all events from the
 * task's start come to.
 */

import type { LastseenEvent, TaskStatus } from "../src/events.js";

type Data = Readonly<Record<string, unknown>>;
export type TaskDoes = Exclude<TaskStatus, "pending">;

export interface TaskView {
  readonly projectId: string | null;
  /** Whether its `task_started` has come. */
  readonly started: boolean;
  /** Undefined before the first event. */
  readonly status: TaskDoes | undefined;
  /** The `data` of its last `task_progress_update`. */
  readonly progress: Data | undefined;
  /** The `data` of the `task_confirmation_required` that it waits for. */
  readonly confirmation: Data | undefined;
  /** The `data` of the event that ended it. */
  readonly result: Data | undefined;
}

export const UNKNOWN_TASK: TaskView = {
  projectId: null,
  started: false,
  status: undefined,
  progress: undefined,
  confirmation: undefined,
  result: undefined,
};

const ENDED: ReadonlySet<unknown> = new Set<TaskDoes>(["completed", "failed", "cancelled", "timeout"]);
/** What `task_status_change` may say: only a terminal event ends a task. */
const TOLD: ReadonlySet<unknown> = new Set<TaskDoes>(["running", "paused", "waiting"]);
/** A start is not among them: were it, a second one, which counts for nothing, could take a pause back. */
const AFTER: ReadonlyMap<string, TaskDoes> = new Map([
  ["task_resumed", "running"],
  ["task_paused", "paused"],
  ["task_confirmation_required", "waiting"],
  ["task_completed", "completed"],
  ["task_failed", "failed"],
  ["task_cancelled", "cancelled"],
  ["task_timeout", "timeout"],
]);

/** The view behind the next event of the channel. What names another project says nothing of the task. */
export function taskAfter(
  before: TaskView,
  event: Pick<LastseenEvent, "type" | "project_id" | "data">,
): TaskView {
  const { type } = event;
  const projectId = event.project_id ?? null;
  const data: Data = event.data ?? {};
  const starts = type === "task_started" && !before.started;
  let view = before;
  if (view.status === undefined || (starts && projectId !== view.projectId)) {
    view = { ...UNKNOWN_TASK, projectId, started: starts, status: "running" };
  } else if (projectId !== view.projectId) {
    return view;
  } else if (starts) {
    // What came before the start is not of this run, but for what state it is in.
    view = { ...view, started: true, progress: undefined, confirmation: undefined };
  }
  if (ENDED.has(view.status)) return view;
  if (type === "task_progress_update") view = { ...view, progress: data };
  const status = statusAfter(type, data);
  if (status === undefined) return view;
  const asked = type === "task_confirmation_required" ? data : view.confirmation;
  return {
    ...view,
    status,
    confirmation: status === "waiting" ? asked : undefined,
    result: ENDED.has(status) ? data : undefined,
  };
}

/** From what `GET /api/v1/tasks/{id}` has answered. */
export function taskViewOf(answer: {
  readonly project_id: string | null;
  readonly started_at: string | null;
  readonly status: TaskDoes;
  readonly progress: Data | null;
  readonly confirmation: Data | null;
  readonly result: Data | null;
}): TaskView {
  return {
    projectId: answer.project_id,
    started: answer.started_at !== null,
    status: answer.status,
    progress: answer.progress ?? undefined,
    confirmation: answer.confirmation ?? undefined,
    result: answer.result ?? undefined,
  };
}

/** Whether it has ended. */
export function hasEnded({ status }: TaskView): boolean {
  return ENDED.has(status);
}

function statusAfter(type: string, { status }: Data): TaskDoes | undefined {
  if (type !== "task_status_change") return AFTER.get(type);
  return TOLD.has(status) ? (status as TaskDoes) : undefined;
}
