import { useState } from "react";
import { counted } from "../parts/counted";
import { Link } from "../parts/Link";
import { back, FIRST, onward, pathOf } from "../parts/paging";
import { Trouble } from "../parts/Trouble";
import { projectPath } from "../shell/route";
import { usePolled, useService } from "../shell/service";

const PER_PAGE = 50;

interface Listed {
  readonly projects: readonly {
    readonly id: string;
    readonly name: string | null;
    readonly role: string | null;
    readonly members: number;
    readonly running_tasks: number;
  }[];
  readonly next: string | null;
}
interface Present {
  readonly users: readonly string[];
  readonly online_users: number;
}

/** Projects, and who is online. */
export function Projects() {
  const { isAdmin } = useService();
  const [trail, setTrail] = useState(FIRST);
  const { value, error } = usePolled<Listed>(pathOf(`projects?limit=${PER_PAGE}`, "after", trail), 5000);
  const { value: present } = usePolled<Present>(isAdmin ? "presence" : null, 5000);
  const [first, last] = [value?.projects[0]?.id, value?.projects.at(-1)?.id];
  return (
    <>
      <header className="title">
        <h1>Projects</h1>
        {first !== undefined && (trail.length > 0 || value?.next) && (
          <span className="soft">
            page {trail.length + 1}: {first} to {last}
          </span>
        )}
      </header>
      <Trouble error={error} />
      {value?.projects.length === 0 && (
        <p className="empty">
          No project yet. Make one: <code>{"./dev publish --type project_created --project shop"}</code>
        </p>
      )}
      <ul className="list">
        {value?.projects.map((one) => (
          <li key={one.id}>
            <Link to={projectPath(one.id)} isRow>
              <b>{one.id}</b> {one.name !== one.id && one.name}
              <span className="soft">
                {one.role ?? "not a member"} · {counted(one.members, "member")} · {one.running_tasks} running
              </span>
            </Link>
          </li>
        ))}
      </ul>
      {(trail.length > 0 || value?.next) && (
        <div className="line turning">
          <button type="button" disabled={trail.length === 0} onClick={() => setTrail(back(trail))}>
            ← Before
          </button>
          <button type="button" disabled={!value?.next} onClick={() => setTrail(onward(trail, value?.next))}>
            Next →
          </button>
        </div>
      )}
      {present && (
        <>
          <h2>Online: {present.online_users}</h2>
          <p>{present.users.join(", ") || "nobody"}</p>
        </>
      )}
    </>
  );
}
