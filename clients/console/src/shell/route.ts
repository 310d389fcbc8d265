/** Places of the console: the path of the address, and its query. */

import { useSyncExternalStore } from "react";

export type Place =
  | { readonly page: "tasks" }
  | { readonly page: "task"; readonly id: string }
  | { readonly page: "feed" }
  | { readonly page: "history" }
  | { readonly page: "projects" }
  | { readonly page: "project"; readonly id: string }
  | { readonly page: "cluster" }
  | { readonly page: "quarantine" }
  | { readonly page: "unknown" };

/** What a path names. */
export function placeOf(path: string): Place {
  const [first = "", ...rest] = path.replace(/^\/|\/$/g, "").split("/");
  const id = rest.map(decode).join("/");
  switch (first) {
    case "":
      return { page: "tasks" };
    case "tasks":
    case "projects":
      if (id === "") return { page: first };
      return first === "tasks" ? { page: "task", id } : { page: "project", id };
    case "feed":
    case "history":
    case "cluster":
    case "quarantine":
      return { page: first };
    default:
      return { page: "unknown" };
  }
}

export function taskPath(id: string): string {
  return `/tasks/${encodeURIComponent(id)}`;
}

export function projectPath(id: string): string {
  return `/projects/${encodeURIComponent(id)}`;
}

/** The page of the history of a channel; `at` a time, RFC 3339. */
export function historyPath(channel: string, at?: string): string {
  return `/history?${new URLSearchParams({ channel, ...(at === undefined ? {} : { at }) })}`;
}

/** Go to a place of the console; `replace` leaves no step to go back to. */
export function go(to: string, replace = false): void {
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  for (const listener of listeners) listener();
}

/** The address as it is now: path and query. */
export function useAddress(): URL {
  const text = useSyncExternalStore(subscribe, () => location.pathname + location.search);
  return new URL(text, location.origin);
}

const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    removeEventListener("popstate", listener);
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
