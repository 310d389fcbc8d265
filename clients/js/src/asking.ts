/** What is asked and waited for: over every interruption, and a command by one id, so that it is applied once. */

import { LastseenError } from "./errors.js";
import type { EventTypes } from "./events.js";
import type { Message } from "./notices.js";
import type { Clock } from "./options.js";

/**
 * What became of a command. `applied` is the only success; `rejected` and `expired` will never be; of an `unknown` one
 * the task's channel will tell (`task_command` with this id), and so will the same command sent again with the same id.
 */
export interface CommandResult {
  readonly id: string;
  readonly taskId: string;
  readonly success: boolean;
  readonly state: "applied" | "rejected" | "expired" | "unknown";
  readonly reason: string | null;
}

interface Waiting {
  readonly message: Message;
  settle(answer: Message | LastseenError): void;
}

const MAX_WAITING = 1_000;
const MIN_RETRY_MS = 1_000;
const RECEIPTS: ReadonlySet<string> = new Set(["applied", "rejected", "expired"]);

export class Asking {
  readonly #waiting = new Map<string, Waiting>();
  readonly #transmit: (message: Message) => void;
  readonly #clock: Clock;
  #refs = 0;

  /** `transmit` sends a message where there is a connection, and else drops it. */
  constructor(transmit: (message: Message) => void, clock: Clock) {
    this.#transmit = transmit;
    this.#clock = clock;
  }

  /** To be sent on a new connection, in this order. */
  get unanswered(): readonly Message[] {
    return [...this.#waiting.values()].map(({ message }) => message);
  }

  /** The answer, however many connections it takes; after `timeoutMs` it rejects with the code `unavailable`. */
  ask(message: Message, timeoutMs: number): Promise<Message> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= MAX_WAITING) {
        reject(new LastseenError(`${MAX_WAITING} questions wait for an answer already`, "too_many_waiting"));
        return;
      }
      this.#refs += 1;
      const ref = `c${this.#refs}`;
      const asked = { ...message, ref };
      const settle = (answer: Message | LastseenError): void => {
        this.#clock.clearTimeout(timer);
        this.#waiting.delete(ref);
        if (answer instanceof LastseenError) reject(answer);
        else resolve(answer);
      };
      const late = new LastseenError(`no answer to ${message.type} within ${timeoutMs} ms`, "unavailable");
      const timer = this.#clock.setTimeout(() => settle(late), timeoutMs);
      this.#waiting.set(ref, { message: asked, settle });
      this.#transmit(asked);
    });
  }

  /** Whether this message of the server answers something that was asked. */
  take(message: Message): boolean {
    const ref = String(message.ref);
    const waiting = this.#waiting.get(ref);
    if (!waiting) return false;
    const retry = message.retry_after;
    if (message.type !== "error") {
      waiting.settle(message);
    } else if (typeof retry === "number") {
      this.#clock.setTimeout(
        () => {
          if (this.#waiting.has(ref)) this.#transmit(waiting.message);
        },
        Math.max(retry * 1000, MIN_RETRY_MS),
      );
    } else {
      waiting.settle(new LastseenError(String(message.message), String(message.code ?? "error")));
    }
    return true;
  }

  /** A receipt on the task's channel may say what became of a command before its answer does. */
  receipt({ task_id, data }: EventTypes["task_command"], userId: string): void {
    if (!RECEIPTS.has(data.state) || data.by !== userId) return;
    for (const { message, settle } of this.#waiting.values()) {
      if (message.id !== data.command_id || message.task_id !== task_id) continue;
      const { state, reason = null } = data;
      settle({ type: "receipt", task_id, id: data.command_id, state, reason });
    }
  }

  /** No answer will come any more. */
  fail(error: LastseenError): void {
    for (const { settle } of [...this.#waiting.values()]) settle(error);
  }
}

/** Reads the answer to a command. */
export function commandResult(answer: Message): CommandResult {
  const { id, task_id, state, reason } = answer as Record<string, unknown>;
  return {
    id: String(id),
    taskId: String(task_id),
    success: state === "applied",
    state: state as CommandResult["state"],
    reason: typeof reason === "string" ? reason : null,
  };
}
