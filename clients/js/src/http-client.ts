/** The rest of the service over HTTP: tasks are started, states asked, events published. */

import { type CallOptions, call, type HttpOptions } from "./call.js";
import type { ScreenData, TaskStatus } from "./events.js";
import { History, type HistoryOptions } from "./history.js";

export interface TaskStart {
  readonly project_id: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly timeout_seconds?: number;
  readonly pty?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  /** Its stdin stays open for input; a terminal has that anyway. */
  readonly input?: boolean;
  readonly adapter?: string;
  readonly task_id?: string;
  /** The idempotency key: sent again with it, it starts once. */
  readonly id?: string;
}

export interface StartedTask {
  readonly task_id: string;
  readonly id: string;
  readonly state: "applied" | "unknown";
  readonly reason: string | null;
  readonly partition: number;
  readonly offset: number;
  /** Subscribe after it, and all of the task comes. */
  readonly position: string;
}

/** A task as of its `position`: subscribe after that, and nothing falls between. */
export interface TaskState {
  readonly id: string;
  readonly project_id: string | null;
  readonly user_id: string | null;
  readonly status: Exclude<TaskStatus, "pending">;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly progress: Readonly<Record<string, unknown>> | null;
  readonly confirmation: Readonly<Record<string, unknown>> | null;
  readonly result: Readonly<Record<string, unknown>> | null;
  readonly screen: ScreenData | null;
  readonly position: string;
}

export interface ProjectState {
  readonly id: string;
  readonly name: string | null;
  readonly owner: string | null;
  readonly members: readonly { readonly user_id: string; readonly role: string }[];
  readonly deleted: boolean;
  readonly data: Readonly<Record<string, unknown>> | null;
  readonly position: string;
}

export interface PublishedPlace {
  readonly id: string;
  readonly partition: number;
  readonly offset: number;
  readonly duplicate: boolean;
}

/** Errors are LastseenError, with the service's `code` and the HTTP `status`. What passes is tried again. */
export class HttpClient {
  readonly #options: HttpOptions;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /** Run a program as a task of a project; resolves when a runner has begun it. */
  startTask(start: TaskStart, options: CallOptions = {}): Promise<StartedTask> {
    const body = { id: crypto.randomUUID(), ...start };
    return call(this.#options, "POST", "tasks", { body, ...options });
  }

  task(taskId: string, options: CallOptions = {}): Promise<TaskState> {
    return call(this.#options, "GET", `tasks/${encodeURIComponent(taskId)}`, options);
  }

  project(projectId: string, options: CallOptions = {}): Promise<ProjectState> {
    return call(this.#options, "GET", `projects/${encodeURIComponent(projectId)}`, options);
  }

  /** Append an event to the log; needs the scope `publish`. Its `id` is kept over attempts, so that it counts once. */
  publish(
    event: { readonly type: string; readonly [field: string]: unknown },
    options: CallOptions = {},
  ): Promise<PublishedPlace> {
    return call(this.#options, "POST", "events", { body: { id: crypto.randomUUID(), ...event }, ...options });
  }

  history(channel: string, options: HistoryOptions = {}): History {
    return new History(this.#options, channel, options);
  }

  /** Any other call under `/api/v1/`. */
  get<T>(path: string, options: CallOptions = {}): Promise<T> {
    return call(this.#options, "GET", path, options);
  }
}
