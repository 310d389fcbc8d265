/**
 * What the events of a project's channel have said of it so far: a fold, by the rules by which the service lets people
 * in. (What is so now is asked of the service itself.)
 */

import type { LastseenEvent } from "@lastseen/client";

export interface ProjectView {
  /** Whether anything has begun it. */
  readonly known: boolean;
  /** Whether a `project_created` has. */
  readonly created: boolean;
  readonly deleted: boolean;
  readonly name: string | undefined;
  /** Roles by user, the longest there first. */
  readonly members: ReadonlyMap<string, string>;
}

export const UNKNOWN_PROJECT: ProjectView = {
  known: false,
  created: false,
  deleted: false,
  name: undefined,
  members: new Map(),
};

export const PROJECT_TYPES = [
  "project_created",
  "project_updated",
  "project_deleted",
  "project_member_added",
  "project_member_removed",
] as const;

const ROLES: ReadonlySet<unknown> = new Set(["owner", "member", "viewer"]);

/** The view behind the next event of the channel. A deleted project is never begun anew. */
export function projectAfter(before: ProjectView, event: LastseenEvent): ProjectView {
  if (before.deleted) return before;
  const { data } = event;
  const name = textOf(data.name) ?? before.name;
  switch (event.type) {
    case "project_created": {
      if (before.created) return before;
      const owner = textOf(data.owner_id) ?? textOf(event.user_id);
      const members = owner === undefined ? before.members : withMember(before.members, owner, "owner");
      return { ...before, known: true, created: true, name, members };
    }
    case "project_updated":
      return before.known ? { ...before, name } : before;
    case "project_deleted":
      return { ...before, known: true, deleted: true, members: new Map() };
    case "project_member_added": {
      const { user_id: user, role = "member" } = data;
      if (typeof user !== "string" || !ROLES.has(role) || !event.channels.includes(`user:${user}`))
        return before;
      return { ...before, known: true, members: withMember(before.members, user, String(role)) };
    }
    case "project_member_removed": {
      const members = new Map(before.members);
      for (const channel of event.channels)
        if (channel.startsWith("user:")) members.delete(channel.slice("user:".length));
      return { ...before, members };
    }
    default:
      return before;
  }
}

function withMember(
  members: ReadonlyMap<string, string>,
  user: string,
  role: string,
): ReadonlyMap<string, string> {
  const after = new Map(members);
  after.delete(user);
  return after.set(user, role);
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
