/** What was so of a task or a project at a time: its events up to then, from the first that the log holds on, added up. */

import type { LastseenEvent } from "@lastseen/client";
import type { HistoryPage } from "@lastseen/client/http";
import { type TaskView, taskAfter, UNKNOWN_TASK } from "@lastseen/client/stores";
import { PROJECT_TYPES, type ProjectView, projectAfter, UNKNOWN_PROJECT } from "./project";

/** Reads `events?…`, with these parameters. */
export type Read = (query: URLSearchParams) => Promise<HistoryPage>;

export interface Past<T> {
  readonly view: T;
  /** Whether events before these were dropped, so that something may be missing. */
  readonly isCut: boolean;
}

const STATUS_TYPES = [
  "task_started",
  "task_paused",
  "task_resumed",
  "task_confirmation_required",
  "task_status_change",
  "task_completed",
  "task_failed",
  "task_cancelled",
  "task_timeout",
];
const PROGRESS = "task_progress_update";
const PER_PAGE = 1000;
/** Of the newest progress: the last may be of another project. */
const FEW = 20;

/**
 * A task before `until` (RFC 3339). What is many, output and progress, is not read: whatever its first event is fixes
 * the project, those of STATUS_TYPES say the rest but for the progress, of which the last one counts.
 */
export async function taskBefore(read: Read, id: string, until: string): Promise<Past<TaskView>> {
  const channel = `task:${id}`;
  const [first, told, progress] = await Promise.all([
    firstBefore(read, channel, until),
    allBefore(read, channel, STATUS_TYPES, until),
    read(queryOf(channel, until, [PROGRESS], { before: "latest", limit: String(FEW) })),
  ]);
  const isFirst = first.event !== undefined && !told.events.some(({ id }) => id === first.event?.id);
  const events = isFirst && first.event ? [first.event, ...told.events] : told.events;
  const view = events.reduce(taskAfter, UNKNOWN_TASK);
  const start = events.find(
    ({ type, project_id }) => type === "task_started" && project_id === view.projectId,
  );
  const last = progress.events.find(
    (event) =>
      (event.project_id ?? null) === view.projectId && (start === undefined || isLater(event, start)),
  );
  return { view: last ? { ...view, progress: last.data } : view, isCut: first.isCut };
}

/** A project before `until`. */
export async function projectBefore(read: Read, id: string, until: string): Promise<Past<ProjectView>> {
  const { events, isCut } = await allBefore(read, `project:${id}`, PROJECT_TYPES, until);
  return { view: events.reduce(projectAfter, UNKNOWN_PROJECT), isCut };
}

interface Found {
  /** In the order of the log. */
  readonly events: readonly LastseenEvent[];
  readonly isCut: boolean;
}

async function allBefore(
  read: Read,
  channel: string,
  types: readonly string[],
  until: string,
): Promise<Found> {
  const events: LastseenEvent[] = [];
  let isCut = false;
  for (let before: string | null = "latest"; before !== null; ) {
    const page: HistoryPage = await read(queryOf(channel, until, types, { before, limit: String(PER_PAGE) }));
    events.push(...page.events);
    isCut ||= hasLost(page);
    before = page.previous;
  }
  return { events: events.reverse(), isCut };
}

async function firstBefore(
  read: Read,
  channel: string,
  until: string,
): Promise<{ readonly event: LastseenEvent | undefined; readonly isCut: boolean }> {
  let isCut = false;
  for (let after = "earliest"; ; ) {
    const page: HistoryPage = await read(queryOf(channel, until, [], { after, limit: "1" }));
    isCut ||= hasLost(page);
    if (page.events.length > 0 || page.next === page.watermark || page.next === after)
      return { event: page.events[0], isCut };
    after = page.next;
  }
}

/** One record that nobody can use takes nothing else with it. */
function hasLost({ gap }: HistoryPage): boolean {
  return gap != null && gap.reason !== "quarantine";
}

function queryOf(
  channel: string,
  until: string,
  types: readonly string[],
  more: Readonly<Record<string, string>>,
): URLSearchParams {
  const query = new URLSearchParams({ channel, until, ...more });
  for (const type of types) query.append("type", type);
  return query;
}

function isLater(event: LastseenEvent, other: LastseenEvent): boolean {
  if (event.partition === other.partition && event.offset > other.offset) return true;
  return (event.appended_at ?? "") > (other.appended_at ?? "");
}
