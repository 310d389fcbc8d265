/** The events of the log, as clients get them. Named types have typed `data`; any other name is a producer's own. */

export interface EventBase<T extends string = string, D = Record<string, unknown>> {
  readonly id: string;
  readonly type: T;
  readonly category: "task" | "project" | "user" | "system";
  readonly task_id: string | null;
  readonly project_id: string | null;
  readonly user_id: string | null;
  readonly sender_id: string | null;
  readonly target_user_id: string | null;
  readonly priority: number;
  readonly ttl: number | null;
  /** The producer's time, RFC 3339. */
  readonly timestamp: string;
  readonly channels: readonly string[];
  readonly data: D;
  /** Its place in the log. */
  readonly partition: number;
  readonly offset: number;
  /** The log's own time, in pages of history. */
  readonly appended_at?: string;
}

type More = Record<string, unknown>;
type TaskBase<T extends string, D = More> = EventBase<T, D> & { readonly task_id: string };

export type TaskStatus =
  | "pending"
  | "running"
  | "waiting"
  | "paused"
  | "completed"
  | "failed"
  | "cancelled"
  | "timeout";

/** A chunk of a stream; `offset` is of its first byte. A viewer that has every offset has every byte. */
export type OutputData = More & {
  readonly stream: "stdout" | "stderr" | "pty";
  readonly offset: number;
  readonly bytes: number;
  readonly kind?: string;
} & ({ readonly text: string; readonly base64?: never } | { readonly base64: string; readonly text?: never });

export interface ScreenData {
  readonly columns: number;
  readonly rows: number;
  readonly offset: number;
  readonly text: string;
  readonly cursor: { readonly line: number; readonly column: number; readonly visible: boolean };
}

export type EndData = More & {
  readonly exit_code?: number | null;
  readonly signal?: string;
  readonly reason?: string;
  readonly by?: string;
};

export type ReceiptState = "accepted" | "applied" | "rejected" | "expired" | "unknown";

export type TaskStartedEvent = TaskBase<"task_started">;
export type TaskProgressUpdateEvent = TaskBase<"task_progress_update", More & { readonly percent?: number }>;
export type TaskOutputEvent = TaskBase<"task_output", OutputData>;
export type TaskConfirmationRequiredEvent = TaskBase<
  "task_confirmation_required",
  More & { readonly confirmation_id: string; readonly question?: string; readonly tool?: string }
>;
export type TaskPausedEvent = TaskBase<"task_paused">;
export type TaskResumedEvent = TaskBase<"task_resumed">;
export type TaskCompletedEvent = TaskBase<"task_completed", EndData>;
export type TaskFailedEvent = TaskBase<"task_failed", EndData>;
export type TaskCancelledEvent = TaskBase<"task_cancelled", EndData>;
export type TaskTimeoutEvent = TaskBase<"task_timeout", EndData>;
export type TaskStatusChangeEvent = TaskBase<
  "task_status_change",
  More & { readonly status: TaskStatus; readonly previous: TaskStatus | null }
>;
/** A receipt: what became of a command. */
export type TaskCommandEvent = TaskBase<
  "task_command",
  More & {
    readonly command_id: string;
    readonly command: string;
    readonly by: string;
    readonly state: ReceiptState;
    readonly reason?: string | null;
  }
>;
export type TaskScreenEvent = TaskBase<"task_screen", ScreenData>;

export type MemberData = More & {
  readonly user_id: string;
  readonly role?: "owner" | "member" | "viewer";
};

/** Every named type, and its event. */
export interface EventTypes {
  task_started: TaskStartedEvent;
  task_progress_update: TaskProgressUpdateEvent;
  task_output: TaskOutputEvent;
  task_confirmation_required: TaskConfirmationRequiredEvent;
  task_paused: TaskPausedEvent;
  task_resumed: TaskResumedEvent;
  task_completed: TaskCompletedEvent;
  task_failed: TaskFailedEvent;
  task_cancelled: TaskCancelledEvent;
  task_timeout: TaskTimeoutEvent;
  task_status_change: TaskStatusChangeEvent;
  task_command: TaskCommandEvent;
  task_screen: TaskScreenEvent;
  project_created: EventBase<"project_created">;
  project_updated: EventBase<"project_updated">;
  project_deleted: EventBase<"project_deleted">;
  project_member_added: EventBase<"project_member_added", MemberData>;
  project_member_removed: EventBase<"project_member_removed", MemberData>;
  project_git_sync: EventBase<"project_git_sync">;
  project_config_changed: EventBase<"project_config_changed">;
  system_maintenance_start: EventBase<"system_maintenance_start">;
  system_maintenance_end: EventBase<"system_maintenance_end">;
  system_service_disruption: EventBase<"system_service_disruption">;
  system_performance_alert: EventBase<"system_performance_alert">;
  system_security_alert: EventBase<"system_security_alert">;
  user_online: EventBase<"user_online">;
  user_offline: EventBase<"user_offline">;
  user_notification: EventBase<"user_notification">;
  user_action: EventBase<"user_action">;
}

export type EventType = keyof EventTypes;
/** An event of a named type: `event.type` tells which, and `data` follows. */
export type NamedEvent = EventTypes[EventType];
/** Any event. */
export type LastseenEvent = EventBase;
/** The event of a type; of a name of your own, any event. */
export type EventOf<T extends string> = T extends EventType ? EventTypes[T] : EventBase<T>;

const ENDS = /^task_(completed|failed|cancelled|timeout)$/;

/** Whether an event is the last one of a task's channel. */
export function endsChannel(event: LastseenEvent, channel: string): boolean {
  return ENDS.test(event.type) && channel === `task:${event.task_id}`;
}

/** Narrows any event to a named type. */
export function isEvent<T extends EventType>(
  event: LastseenEvent,
  type: T,
): event is EventTypes[T] & LastseenEvent {
  return event.type === type;
}
