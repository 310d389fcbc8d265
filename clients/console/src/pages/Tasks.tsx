import { useState } from "react";
import { Link } from "../parts/Link";
import { Trouble } from "../parts/Trouble";
import { duration, shortTime } from "../parts/time";
import { taskPath } from "../shell/route";
import { usePolled } from "../shell/service";

interface Listed {
  readonly tasks: readonly {
    readonly id: string;
    readonly project_id: string | null;
    readonly user_id: string | null;
    readonly status: string;
    readonly first_at: string;
    readonly ended_at: string | null;
  }[];
}
const STATES = ["running", "waiting", "paused", "completed", "failed", "cancelled", "timeout"];

/** The newest tasks. */
export function Tasks() {
  const [status, setStatus] = useState("");
  const [text, setText] = useState("");
  const { value, error } = usePolled<Listed>(`tasks?limit=200${status && `&status=${status}`}`, 2000);
  const tasks = value?.tasks.filter((one) => `${one.id} ${one.project_id} ${one.user_id}`.includes(text));
  const now = Date.now();
  return (
    <>
      <header className="title">
        <h1>Tasks</h1>
        <input
          data-search
          aria-label="Search"
          placeholder="Task, project or user  /"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <select aria-label="State" value={status} onChange={(event) => setStatus(event.target.value)}>
          <option value="">all states</option>
          {STATES.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </header>
      <Trouble error={error} />
      {tasks?.length === 0 && (
        <p className="empty">
          No such task. Run one: <code>./dev run -- make test</code>
        </p>
      )}
      <ul className="list">
        {tasks?.map((one) => (
          <li key={one.id}>
            <Link to={taskPath(one.id)} isRow>
              <span className={`state ${one.status}`}>{one.status}</span> <b>{one.id}</b>
              <span className="soft">
                {one.project_id ?? "no project"} · {one.user_id} · {shortTime(one.first_at, now)} ·{" "}
                {duration(Date.parse(one.ended_at ?? new Date(now).toISOString()) - Date.parse(one.first_at))}
              </span>
            </Link>
          </li>
        ))}
      </ul>
    </>
  );
}
