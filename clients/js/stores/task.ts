/** A task, as its channel tells of it: what it does, and its output. */

import type { WebSocketClient } from "../src/client.js";
import type { LastseenEvent } from "../src/events.js";
import type { StartOptions } from "../src/follower.js";
import type { Gap } from "../src/notices.js";
import { hasSeen, type Position, parsePosition } from "../src/positions.js";
import { FollowingStore, type FollowState, NOT_FOLLOWED } from "./following.js";
import { Newest } from "./newest.js";
import { OutputCollector, TaskOutput } from "./output.js";
import { type TaskView, taskAfter, UNKNOWN_TASK } from "./task-view.js";

export interface TaskOptions extends StartOptions {
  /** What was known of it up to that start: `taskViewOf` the state that the service answered with its `position`. */
  readonly view?: TaskView | undefined;
  /** The position that `view` is of, where the start lies before it: what comes up to there it says already. */
  readonly viewAt?: string | undefined;
  /** So many events are kept besides the output; 1,000. */
  readonly limit?: number | undefined;
  /** So many bytes of its output are kept, the last ones; 32 MiB. */
  readonly maxOutputBytes?: number | undefined;
}

export interface TaskSnapshot extends FollowState {
  readonly view: TaskView;
  readonly output: TaskOutput;
  /** Its events less `task_output` and `task_screen`, in the order of the channel. */
  readonly events: readonly LastseenEvent[];
  readonly position: string | undefined;
}

/** More than the changes that are told at once can have. */
const MAX_OUTPUT_BYTES = 32 * 1024 * 1024;
const NONE: readonly LastseenEvent[] = [];

export class TaskStore extends FollowingStore<TaskSnapshot> {
  readonly #projectId: string | undefined;
  readonly #maxOutputBytes: number;
  readonly #isWhole: boolean;
  readonly #events: Newest;
  #output: OutputCollector;
  #view: TaskView;
  #viewAt: Position | undefined;

  /** `projectId`: what names another project is not of the task, even before its start has come. */
  constructor(
    client: WebSocketClient,
    taskId: string | undefined,
    projectId: string | undefined,
    options: TaskOptions,
  ) {
    const {
      view = UNKNOWN_TASK,
      viewAt,
      limit = 1_000,
      maxOutputBytes = MAX_OUTPUT_BYTES,
      ...start
    } = options;
    const hasStart = [start.after, start.since, start.last].some((one) => one !== undefined);
    const initial = { ...NOT_FOLLOWED, view, output: new TaskOutput(), events: NONE, position: undefined };
    const channel = taskId === undefined ? undefined : `task:${taskId}`;
    super(client, channel, hasStart ? start : { after: "earliest" }, initial, Math.min(500, limit));
    this.#projectId = projectId;
    this.#maxOutputBytes = maxOutputBytes;
    this.#isWhole = !hasStart || start.after === "earliest";
    this.#events = new Newest(limit);
    this.#output = new OutputCollector(maxOutputBytes, this.#isWhole);
    this.#view = view;
    this.#viewAt = viewAt === undefined ? undefined : parsePosition(viewAt);
  }

  protected override take(event: LastseenEvent): void {
    if (this.#projectId !== undefined && event.project_id !== this.#projectId) return;
    const before = this.#view;
    const isKnown = this.#viewAt && hasSeen(this.#viewAt.offsets, event.partition, event.offset);
    if (!isKnown) this.#view = taskAfter(before, event);
    // Another project's task by that name had come first: its output is none of this one's.
    if (before.status !== undefined && before.projectId !== this.#view.projectId) {
      this.#output = new OutputCollector(this.#maxOutputBytes, this.#isWhole);
    }
    const isOutput = event.type === "task_output";
    if (isOutput && (event.project_id ?? null) === this.#view.projectId) this.#output.add(event.data);
    if (!isOutput && event.type !== "task_screen") this.#events.add(event);
  }

  protected override passed(gap: Gap): void {
    // Offsets of another log say nothing of this one's.
    if (gap.reason === "epoch") this.#viewAt = undefined;
  }

  protected override snapshot(before: TaskSnapshot): TaskSnapshot {
    const follow = this.follow(before);
    const view = this.#view;
    const { output } = this.#output;
    const events = this.#events.view.items;
    const { position } = this;
    const isSame =
      follow === before &&
      view === before.view &&
      output === before.output &&
      events === before.events &&
      position === before.position;
    return isSame ? before : { ...follow, view, output, events, position };
  }
}
