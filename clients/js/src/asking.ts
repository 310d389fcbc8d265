/** What is asked and waited for: over every interruption, and a command by one id, so that it is applied once. */

import type { Connection } from "./connection.js";
import { LastseenError } from "./errors.js";
import type { EventTypes } from "./events.js";
import type { Message } from "./notices.js";

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

export interface CommandOptions {
  /** Its idempotency key: give the same to go on with a command of an earlier page. */
  readonly id?: string | undefined;
  /** After so long without an answer the result is `unknown`; 60,000. */
  readonly timeoutMs?: number | undefined;
}

interface Command extends Message {
  readonly task_id: string;
  readonly id: string;
}

interface Waiting {
  readonly message: Message;
  settle(answer: Message | LastseenError): void;
}

const TIMEOUT_MS = 60_000;
const MAX_WAITING = 1_000;
const MIN_RETRY_MS = 1_000;
const RECEIPTS: ReadonlySet<string> = new Set(["applied", "rejected", "expired"]);

export class Asking {
  readonly #waiting = new Map<string, Waiting>();
  readonly #connection: Connection;
  #refs = 0;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** A new connection stands. */
  sendAgain(): void {
    for (const { message } of this.#waiting.values()) this.#connection.send(message);
  }

  /** The answer, however many connections it takes; after `timeoutMs` it rejects with the code `unavailable`. */
  ask(message: Message, timeoutMs: number = TIMEOUT_MS): Promise<Message> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= MAX_WAITING) {
        reject(new LastseenError(`${MAX_WAITING} questions wait for an answer already`, "too_many_waiting"));
        return;
      }
      this.#refs += 1;
      const ref = `c${this.#refs}`;
      const asked = { ...message, ref };
      const settle = (answer: Message | LastseenError): void => {
        this.#connection.clock.clearTimeout(timer);
        this.#waiting.delete(ref);
        if (answer instanceof LastseenError) reject(answer);
        else resolve(answer);
      };
      const late = new LastseenError(`no answer to ${message.type} within ${timeoutMs} ms`, "unavailable");
      const timer = this.#connection.clock.setTimeout(() => settle(late), timeoutMs);
      this.#waiting.set(ref, { message: asked, settle });
      this.#connection.send(asked);
    });
  }

  /** What becomes of a command. */
  async command(command: Command, timeoutMs: number | undefined): Promise<CommandResult> {
    const { id, task_id: taskId } = command;
    let answer: Message;
    try {
      answer = await this.ask(command, timeoutMs);
    } catch (error) {
      if (!(error instanceof LastseenError) || error.code !== "unavailable") throw error;
      return { id, taskId, success: false, state: "unknown", reason: "timeout" };
    }
    const state = answer.state as CommandResult["state"];
    const reason = (answer.reason ?? null) as string | null;
    return { id, taskId, success: state === "applied", state, reason };
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
      this.#connection.clock.setTimeout(
        () => {
          if (this.#waiting.has(ref)) this.#connection.send(waiting.message);
        },
        Math.max(retry * 1000, MIN_RETRY_MS),
      );
    } else {
      waiting.settle(new LastseenError(String(message.message), String(message.code ?? "error")));
    }
    return true;
  }

  /** A receipt on the task's channel may say what became of a command before its answer does. */
  receipt({ task_id, data }: EventTypes["task_command"], userId: string | undefined): void {
    if (!RECEIPTS.has(data.state) || data.by !== userId) return;
    for (const { message, settle } of this.#waiting.values()) {
      if (message.id !== data.command_id || message.task_id !== task_id) continue;
      const { state, reason = null } = data;
      settle({ type: "receipt", state, reason });
    }
  }

  /** No answer will come any more. */
  fail(error: LastseenError): void {
    for (const { settle } of [...this.#waiting.values()]) settle(error);
  }
}
