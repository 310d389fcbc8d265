/** Events, as pages and connections give them. */

import type { LastseenEvent } from "@lastseen/client";

let count = 0;

/** An event of the project `shop` with an id of its own, later in the log than those before. */
export function event(
  type: string,
  data: Record<string, unknown> = {},
  fields: Partial<LastseenEvent> = {},
): LastseenEvent {
  count += 1;
  const task_id = type.startsWith("task_") ? "build" : null;
  return {
    id: `e${count}`,
    type,
    category: task_id === null ? "project" : "task",
    task_id,
    project_id: "shop",
    user_id: "ann",
    sender_id: null,
    target_user_id: null,
    priority: 5,
    ttl: null,
    timestamp: "2026-01-31T12:00:00.000Z",
    channels: ["project:shop", ...(task_id === null ? [] : [`task:${task_id}`])],
    data,
    partition: 0,
    offset: count,
    ...fields,
  };
}
