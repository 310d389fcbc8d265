import type { LastseenEvent } from "@lastseen/client";
import { summary } from "../history/filter";
import { taskPath } from "../shell/route";
import { Link } from "./Link";
import { shortTime } from "./time";

/** An event as a row that opens. */
export function Event({ event }: { readonly event: LastseenEvent }) {
  return (
    <li className="event">
      <details>
        <summary data-row="">
          <time className="soft">{shortTime(event.appended_at ?? event.timestamp, Date.now())}</time>{" "}
          <b>{event.type}</b>{" "}
          <span className="soft">{event.task_id ?? event.project_id ?? event.user_id}</span>{" "}
          <span className="short">{summary(event).slice(0, 200)}</span>
        </summary>
        <pre>{JSON.stringify(event, null, 2)}</pre>
        {event.task_id && <Link to={taskPath(event.task_id)}>To the task</Link>}
      </details>
    </li>
  );
}
