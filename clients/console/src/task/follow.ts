/** A task as it is and goes on: its state first, then what follows that, or all of its output. */

import {
  isEvent,
  type LastseenEvent,
  type OutputData,
  parsePosition,
  type ScreenData,
  type WebSocketClient,
} from "@lastseen/client";
import type { HttpClient, TaskState } from "@lastseen/client/http";
import { outcomeOf } from "../parts/sentences";
import { Lines } from "./lines";

export type Shown = Pick<
  TaskState,
  | "id"
  | "project_id"
  | "user_id"
  | "status"
  | "started_at"
  | "ended_at"
  | "progress"
  | "confirmation"
  | "result"
>;

const ENDS: { readonly [type: string]: TaskState["status"] } = {
  task_completed: "completed",
  task_failed: "failed",
  task_cancelled: "cancelled",
  task_timeout: "timeout",
};

/** The state behind an event. */
export function after(state: Shown, event: LastseenEvent): Shown {
  const end = ENDS[event.type];
  if (end)
    return {
      ...state,
      status: end,
      confirmation: null,
      result: event.data,
      ended_at: event.appended_at ?? event.timestamp,
    };
  if (isEvent(event, "task_progress_update")) return { ...state, progress: event.data };
  if (isEvent(event, "task_confirmation_required"))
    return { ...state, status: "waiting", confirmation: event.data };
  if (event.type === "task_paused") return { ...state, status: "paused" };
  if (event.type === "task_resumed") return { ...state, status: "running", confirmation: null };
  if (isEvent(event, "task_status_change") && ["running", "paused", "waiting"].includes(event.data.status)) {
    return {
      ...state,
      status: event.data.status as Shown["status"],
      confirmation: event.data.status === "running" ? null : state.confirmation,
    };
  }
  return state;
}

export class FollowedTask {
  state: Shown | undefined;
  screen: ScreenData | null = null;
  error: (Error & { code?: string }) | undefined;
  gap = false;
  /** Whether it has a terminal of its own, as its start or its output says. */
  isTerminal = false;
  readonly receipts: { id: string; text: string }[] = [];
  readonly output = new Lines();
  /** Chunks of the terminal; taken by `onTerminal`, kept until there is one. */
  readonly #waiting: OutputData[] = [];
  #onTerminal: ((data: OutputData) => void) | undefined;
  readonly #changed = new Set<() => void>();
  #due = false;
  version = 0;

  readonly subscribe = (changed: () => void): (() => void) => {
    this.#changed.add(changed);
    return () => this.#changed.delete(changed);
  };

  set onTerminal(taken: ((data: OutputData) => void) | undefined) {
    this.#onTerminal = taken;
    if (taken) for (const data of this.#waiting.splice(0)) taken(data);
  }

  /** Until the signal says stop. */
  async follow(id: string, http: HttpClient, client: WebSocketClient, signal: AbortSignal): Promise<void> {
    try {
      const state = await http.task(id, { signal });
      if (signal.aborted) return;
      this.state = state;
      this.screen = state.screen;
      this.isTerminal = state.screen !== null;
      this.#change();
      const from = parsePosition(state.position);
      const subscription = client.subscribeToTask(id, {
        after: state.screen ? state.position : "earliest",
        onEvent: (event) => {
          if (event.type === "task_started" && event.data.pty === true) this.isTerminal = true;
          if (isEvent(event, "task_output")) {
            if (event.data.stream === "pty") this.isTerminal = true;
            if (event.data.stream !== "pty") this.output.add(event.data);
            else if (this.#onTerminal) this.#onTerminal(event.data);
            else this.#waiting.push(event.data);
          }
          if (isEvent(event, "task_command") && event.data.state !== "accepted") {
            this.receipts.push({ id: event.id, text: `${event.data.by}: ${outcomeOf(event.data)}` });
          }
          if (this.state && event.offset > (from.offsets.get(event.partition) ?? -1))
            this.state = after(this.state, event);
          this.#change();
        },
        onGap: () => {
          this.gap = true;
          this.#change();
        },
        onEnd: (error) => {
          if (!error) return;
          this.error = error;
          this.#change();
        },
      });
      signal.addEventListener("abort", () => subscription.unsubscribe(), { once: true });
    } catch (error) {
      if (signal.aborted) return;
      this.error = error as Error;
      this.#change();
    }
  }

  #change(): void {
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => {
      this.#due = false;
      this.version += 1;
      for (const changed of this.#changed) changed();
    }, 30);
  }
}
