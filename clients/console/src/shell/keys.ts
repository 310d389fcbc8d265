/** What the keyboard does. */

/** Pages by the key that follows `g`. */
export const PAGES: { readonly [key: string]: { readonly path: string; readonly name: string } } = {
  t: { path: "/tasks", name: "Tasks" },
  f: { path: "/feed", name: "Live feed" },
  h: { path: "/history", name: "History" },
  p: { path: "/projects", name: "Projects" },
  c: { path: "/cluster", name: "Cluster" },
  q: { path: "/quarantine", name: "Quarantine" },
};

export const LEAVE_TERMINAL = "Shift+Esc";

/** The keys of the page that is shown, for the list of them. */
export const KEYS: readonly (readonly [string, string])[] = [
  ...Object.entries(PAGES).map(([key, { name }]) => [`g ${key}`, `Go to ${name}`] as const),
  ["/", "Search, filter, or answer a task"],
  ["j, k", "Next, previous row"],
  ["Enter", "Open the row"],
  ["p", "Pause the feed, or let it go on"],
  ["d", "Light, dark, or as the system"],
  ["?", "These keys"],
  ["Esc", "Leave a field, close a list"],
  [LEAVE_TERMINAL, "Leave a terminal, which takes all other keys"],
];

export type Action =
  | { readonly kind: "go"; readonly path: string }
  | { readonly kind: "search" | "help" | "theme" | "escape" | "pause" | "open" }
  | { readonly kind: "move"; readonly by: 1 | -1 };

/** What a key means after another, `pending`; what waits for the next key, or null; and what is to be done. */
export function pressed(
  key: string,
  pending: string | null,
): { pending: string | null; action: Action | null } {
  const page = pending === "g" ? PAGES[key] : undefined;
  if (page !== undefined) return { pending: null, action: { kind: "go", path: page.path } };
  if (key === "g") return { pending: "g", action: null };
  return { pending: null, action: ACTIONS[key] ?? null };
}

const ACTIONS: { readonly [key: string]: Action } = {
  "/": { kind: "search" },
  "?": { kind: "help" },
  d: { kind: "theme" },
  p: { kind: "pause" },
  j: { kind: "move", by: 1 },
  k: { kind: "move", by: -1 },
  Enter: { kind: "open" },
  Escape: { kind: "escape" },
};

/** Whether keys belong to what has the focus. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

/** Whether Enter belongs to what has the focus. */
export function isPressable(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("a, button, summary") !== null;
}
