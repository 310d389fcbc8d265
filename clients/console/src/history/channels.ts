import { useMemo } from "react";
import { usePolled, useService } from "../shell/service";

/** The channels that the user may read, tasks aside; undefined until that is known. At most 100, as one call takes. */
export function useChannels(): readonly string[] | undefined {
  const { user, isAdmin } = useService();
  const { value } = usePolled<{ projects: { id: string }[] }>("projects?limit=97", 30_000);
  const key = value?.projects.map(({ id }) => `project:${id}`).join("\n");
  return useMemo(
    () =>
      key === undefined
        ? undefined
        : [`user:${user}`, "broadcast", ...(isAdmin ? ["system"] : []), ...key.split("\n").filter(Boolean)],
    [key, user, isAdmin],
  );
}
