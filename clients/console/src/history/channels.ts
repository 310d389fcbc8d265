import { useMemo } from "react";
import { usePolled, useService } from "../shell/service";

/** As many as one call takes, beside the user's own channel and those for everybody. */
const MOST_PROJECTS = 97;

export interface Channels {
  readonly names: readonly string[];
  /** Whether there are more projects than these. */
  readonly isCut: boolean;
}

/** The channels that the user may read, tasks aside; undefined until that is known. */
export function useChannels(): Channels | undefined {
  const { user, isAdmin } = useService();
  const { value } = usePolled<{ projects: { id: string }[]; next: string | null }>(
    `projects?limit=${MOST_PROJECTS}`,
    30_000,
  );
  const key = value?.projects.map(({ id }) => `project:${id}`).join("\n");
  const isCut = value?.next != null;
  return useMemo(
    () =>
      key === undefined
        ? undefined
        : {
            names: [
              `user:${user}`,
              "broadcast",
              ...(isAdmin ? ["system"] : []),
              ...key.split("\n").filter(Boolean),
            ],
            isCut,
          },
    [key, isCut, user, isAdmin],
  );
}

/** Whether a text is the name of a channel. */
export function isChannel(text: string): boolean {
  return /^((task|project|user):[\w.:@+=~|-]{1,128}|system|broadcast)$/.test(text);
}
