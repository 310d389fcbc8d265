/** What each close code of the connection tells a client to do. */

/** `renew`: at once with another token; with the same one never. `later`: with exponential back-off. */
export type Return = "at_once" | "later" | "renew" | "never";

export const PROJECT_DENIED = "Project access denied";

const NEVER_AGAIN: ReadonlySet<number> = new Set([1003, 1008, 1009, 1010]);

/** When to come back after this close; a code that is not known is a fault that passes. */
export function whenToReturn(code: number, reason: string): Return {
  if (code === 4401) return "renew";
  if (code === 1008 && (reason === "Authentication required" || reason === "Invalid token")) return "renew";
  if (code === 4408) return "at_once";
  return NEVER_AGAIN.has(code) ? "never" : "later";
}

/** The milliseconds over which the clients of a node that goes away spread their return, where it names them. */
export function returnWindow(code: number, reason: string): number | undefined {
  const found = code === 1001 ? /\bcome back within (\d{1,6}) ms\b/.exec(reason) : null;
  return found ? Number(found[1]) : undefined;
}
