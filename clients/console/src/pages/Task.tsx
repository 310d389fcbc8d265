import type { LastseenError } from "@lastseen/client";
import type { TaskState } from "@lastseen/client/http";
import { useEffect, useState } from "react";
import { Trouble } from "../parts/Trouble";
import { useService } from "../shell/service";
import { Followed } from "../task/Followed";

/** A task: what it says, how it is, and what can be said to it. */
export default function Task({ id }: { readonly id: string }) {
  const { http } = useService();
  const [asked, setAsked] = useState<{ readonly state?: TaskState; readonly error?: LastseenError }>({});
  useEffect(() => {
    const stop = new AbortController();
    http.task(id, { signal: stop.signal }).then(
      (state) => stop.signal.aborted || setAsked({ state }),
      (error: LastseenError) => stop.signal.aborted || setAsked({ error }),
    );
    return () => stop.abort();
  }, [id, http]);
  if (asked.state) return <Followed id={id} asked={asked.state} />;
  if (asked.error) return <Trouble error={asked.error} />;
  return <p role="status">Loading …</p>;
}
