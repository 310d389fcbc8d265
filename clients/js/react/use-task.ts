/** A task: what it does, what it writes, and what can be sent to it. */

import { useMemo, useSyncExternalStore } from "react";
import type { CommandResult } from "../src/asking.js";
import type { CommandOptions, WebSocketClient } from "../src/client.js";
import { LastseenError } from "../src/errors.js";
import type { LastseenEvent } from "../src/events.js";
import type { FollowState } from "../stores/following.js";
import type { TaskOutput } from "../stores/output.js";
import type { TaskOptions } from "../stores/task.js";
import { hasEnded, type TaskDoes, type TaskView } from "../stores/task-view.js";
import { useClient, useStores } from "./context.js";
import { useConnection } from "./use-websocket.js";

/** Each resolves when it is known what became of it, over every interruption. */
export interface TaskActions {
  readonly sendTaskInput: (input: string, options?: CommandOptions) => Promise<CommandResult>;
  readonly cancelTask: (options?: CommandOptions) => Promise<CommandResult>;
  readonly pauseTask: (options?: CommandOptions) => Promise<CommandResult>;
  readonly resumeTask: (options?: CommandOptions) => Promise<CommandResult>;
  /** Answer the confirmation that it waits for, or the one that is named. */
  readonly confirmTask: (
    approved: boolean,
    confirmationId?: string,
    options?: CommandOptions,
  ) => Promise<CommandResult>;
}

export interface TaskHook extends FollowState, TaskActions {
  readonly isConnected: boolean;
  /** Its events less `task_output` and `task_screen`, in their order, the newest `limit` of them. */
  readonly taskEvents: readonly LastseenEvent[];
  /** Undefined before anything of it has come. */
  readonly taskStatus: TaskDoes | undefined;
  readonly hasStarted: boolean;
  readonly hasEnded: boolean;
  /** The `data` of its last `task_progress_update`. */
  readonly progress: TaskView["progress"];
  /** The `data` of the `task_confirmation_required` that it waits for. */
  readonly confirmation: TaskView["confirmation"];
  /** The `data` of the event that ended it. */
  readonly result: TaskView["result"];
  /** What it has written; another object whenever there is more. */
  readonly output: TaskOutput;
  /** The token to resume after the last event. */
  readonly position: string | undefined;
}

/**
 * Follow a task while the component is mounted, from its start unless the options say otherwise. Where its project is
 * given, what names another is left out. Without a task nothing is followed, and what is sent is refused.
 */
export function useTaskWebSocket(
  taskId: string | undefined,
  projectId?: string,
  options: TaskOptions = {},
): TaskHook {
  const client = useClient();
  const stores = useStores();
  const key = JSON.stringify(options);
  const store = useMemo(
    () => stores.task(taskId, projectId, JSON.parse(key) as TaskOptions),
    [stores, taskId, projectId, key],
  );
  const { view, events, ...snapshot } = useSyncExternalStore(store.subscribe, store.get, store.get);
  const { isConnected } = useConnection();
  const asked = view.confirmation?.confirmation_id;
  const confirmationId = typeof asked === "string" ? asked : undefined;
  const actions = useMemo(() => actionsOf(client, taskId, confirmationId), [client, taskId, confirmationId]);
  return {
    ...snapshot,
    ...actions,
    isConnected,
    taskEvents: events,
    taskStatus: view.status,
    hasStarted: view.started,
    hasEnded: hasEnded(view),
    progress: view.progress,
    confirmation: view.confirmation,
    result: view.result,
  };
}

function actionsOf(
  client: WebSocketClient,
  taskId: string | undefined,
  confirmationId: string | undefined,
): TaskActions {
  const task = async (): Promise<string> => {
    if (taskId === undefined) throw new LastseenError("no task is followed: give its id", "no_task");
    return taskId;
  };
  return {
    sendTaskInput: async (input, options) => client.sendTaskInput(await task(), input, options),
    cancelTask: async (options) => client.cancelTask(await task(), options),
    pauseTask: async (options) => client.pauseTask(await task(), options),
    resumeTask: async (options) => client.resumeTask(await task(), options),
    confirmTask: async (approved, id = confirmationId, options = {}) => {
      if (id === undefined) {
        throw new LastseenError("the task waits for no confirmation: name one", "nothing_to_confirm");
      }
      return client.confirmTask(await task(), id, approved, options);
    },
  };
}
