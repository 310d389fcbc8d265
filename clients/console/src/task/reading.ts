/** What a page makes of a task's output, as far as that has come. */

import type { TaskOutput } from "@lastseen/client/stores";
import { Lines } from "./lines";

/** The stream of a task's terminal. */
export const TERMINAL = "pty";

/** Takes one output after another of a task; what was taken already is not taken again. */
export class Reading {
  readonly lines = new Lines();
  /** Whether it writes to a terminal. */
  isTerminal = false;
  #end = 0;

  take(output: TaskOutput): this {
    for (const chunk of output.since(this.#end)) {
      if (chunk.stream === TERMINAL) this.isTerminal = true;
      else this.lines.add(chunk);
    }
    this.#end = output.end;
    return this;
  }
}
