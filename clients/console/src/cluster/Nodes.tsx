import { counted } from "../parts/counted";
import { shortTime } from "../parts/time";
import type { RunnerSaid } from "./answer";
import { type NodeSaid, nodeRows } from "./nodes";

/** The nodes, one row a name. */
export function Nodes({ nodes, now }: { readonly nodes: readonly NodeSaid[]; readonly now: number }) {
  return (
    <ul className="list">
      {nodeRows(nodes).map((one) => (
        <li key={one.node}>
          <p>
            <b>{one.node}</b>{" "}
            {one.answering ? (
              <span className="lag none">answers</span>
            ) : (
              <span className="lag some">
                does not answer
                {one.lease_until && `; it counts as gone from ${shortTime(one.lease_until, now)} on`}
              </span>
            )}{" "}
            <span className="soft">
              {counted(one.connections, "connection")} · {counted(one.users, "user")}
            </span>
          </p>
          {one.former.map((former) => (
            <p key={former.incarnation} className="soft former">
              Before, a process of that name ended without a word
              {former.lease_until && `; it is forgotten by ${shortTime(former.lease_until, now)}`}.
            </p>
          ))}
        </li>
      ))}
    </ul>
  );
}

/** The runners, and when they were last heard of. */
export function Runners({
  runners,
  now,
}: {
  readonly runners: readonly RunnerSaid[] | null;
  readonly now: number;
}) {
  if (runners === null) return <p className="empty">Not known while Postgres is away.</p>;
  if (runners.length === 0)
    return <p className="empty">No runner: tasks that the service is to start wait for one.</p>;
  return (
    <ul className="list">
      {runners.map((one) => (
        <li key={one.incarnation}>
          <p>
            <b>{one.name}</b> runs {counted(one.tasks, "task")}{" "}
            <span className="soft">heard of at {shortTime(one.renewed_at, now)}</span>
          </p>
        </li>
      ))}
    </ul>
  );
}
