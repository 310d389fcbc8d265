import { Link } from "../parts/Link";
import { Trouble } from "../parts/Trouble";
import { projectPath } from "../shell/route";
import { usePolled, useService } from "../shell/service";

interface Listed {
  readonly projects: readonly {
    id: string;
    name: string | null;
    role: string | null;
    members: number;
    running_tasks: number;
  }[];
}
interface Present {
  readonly users: readonly string[];
  readonly online_users: number;
}

/** Projects, and who is online. */
export function Projects() {
  const { isAdmin } = useService();
  const { value, error } = usePolled<Listed>("projects", 5000);
  const { value: present } = usePolled<Present>(isAdmin ? "presence" : null, 5000);
  return (
    <>
      <header className="title">
        <h1>Projects</h1>
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
                {one.role ?? "not a member"} · {one.members} members · {one.running_tasks} running
              </span>
            </Link>
          </li>
        ))}
      </ul>
      {present && (
        <>
          <h2>Online: {present.online_users}</h2>
          <p>{present.users.join(", ") || "nobody"}</p>
        </>
      )}
    </>
  );
}
