import type { ProjectState } from "@lastseen/client/http";
import { Link } from "../parts/Link";
import { Trouble } from "../parts/Trouble";
import { historyPath } from "../shell/route";
import { usePolled } from "../shell/service";

/** A project: its members, and which of them are online. */
export function Project({ id }: { readonly id: string }) {
  const { value, error } = usePolled<ProjectState>(`projects/${encodeURIComponent(id)}`, 5000);
  const { value: present } = usePolled<{ users: string[] }>(
    `presence?channel=${encodeURIComponent(`project:${id}`)}`,
    5000,
  );
  return (
    <>
      <header className="title">
        <h1>{value?.name ?? id}</h1> <Link to={historyPath(`project:${id}`)}>History</Link>
      </header>
      <Trouble error={error} />
      <h2>Members</h2>
      {value?.members.length === 0 && <p className="empty">It has no members.</p>}
      <ul className="list">
        {value?.members.map((one) => (
          <li key={one.user_id}>
            <p>
              <b>{one.user_id}</b> {one.role}{" "}
              <span className="soft">{present?.users.includes(one.user_id) ? "watching now" : ""}</span>
            </p>
          </li>
        ))}
      </ul>
    </>
  );
}
