/** Pages that each name the next one, so that there is a way on, and back to those that were seen. */

/** What the pages behind the first were asked by, up to the one that is shown; empty: the first. */
export type Trail = readonly string[];

export const FIRST: Trail = [];

/** On to the page that this one names, if it names one. */
export function onward(trail: Trail, next: string | null | undefined): Trail {
  return next ? [...trail, next] : trail;
}

export function back(trail: Trail): Trail {
  return trail.slice(0, -1);
}

/** A path with what the page that is shown is asked by, as the parameter `name`. */
export function pathOf(path: string, name: string, trail: Trail): string {
  const asked = trail.at(-1);
  return asked === undefined
    ? path
    : `${path}${path.includes("?") ? "&" : "?"}${name}=${encodeURIComponent(asked)}`;
}
