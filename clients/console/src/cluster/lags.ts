/** How far behind the log somebody is, in words. */

import { counted } from "../parts/counted";

/** Events that are on their way anyway, while many are appended. */
const USUAL = 1000;

export interface Lag {
  readonly kind: "unknown" | "none" | "some" | "much";
  readonly text: string;
}

/** `before`: what it was a while ago, if that is known; then whether it grows. */
export function lagOf(lag: number | null | undefined, before?: number | null): Lag {
  if (lag == null) return { kind: "unknown", text: "not known" };
  if (lag === 0) return { kind: "none", text: "does not lag" };
  const trend =
    before == null ? "" : lag > before ? ", and it grows" : lag < before ? ", and catches up" : "";
  return { kind: lag > USUAL ? "much" : "some", text: `lags by ${counted(lag, "event")}${trend}` };
}
