/** How a task is followed: from which start, and what its first event says of it. */

import type { LastseenEvent } from "@lastseen/client";
import type { TaskState } from "@lastseen/client/http";
import { type TaskOptions, taskViewOf } from "@lastseen/client/stores";

/** So many bytes of a terminal are written anew when its page is opened; of more the screen is shown at once. */
export const REPLAYED = 1024 * 1024;

export function isShort({ screen }: TaskState): boolean {
  return screen === null || screen.offset <= REPLAYED;
}

/** From the task's start on; else behind the state, whose screen is where its terminal begins. */
export function startOf(state: TaskState, fromStart: boolean): TaskOptions {
  const view = taskViewOf(state);
  return fromStart ? { after: "earliest", view, viewAt: state.position } : { after: state.position, view };
}

export interface Begun {
  /** The program and its arguments, as a shell shows them. */
  readonly command: string | undefined;
  /** Of its terminal, if it has one. */
  readonly size: Size | undefined;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What the `task_started` among a task's events says. */
export function begunOf(events: readonly LastseenEvent[]): Begun {
  const data = events.find(({ type }) => type === "task_started")?.data ?? {};
  const { command, pty, columns, rows } = data;
  const isSized = pty === true && isCount(columns) && isCount(rows);
  return {
    command: Array.isArray(command) ? command.map(quoted).join(" ") : undefined,
    size: isSized ? { columns, rows } : pty === true ? { columns: 80, rows: 24 } : undefined,
  };
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= 1000;
}

function quoted(word: unknown): string {
  const text = String(word);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
