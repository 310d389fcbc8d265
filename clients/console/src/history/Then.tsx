import type { ProjectState, TaskState } from "@lastseen/client/http";
import { type TaskView, taskViewOf } from "@lastseen/client/stores";
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "../parts/Link";
import { endingOf } from "../parts/sentences";
import { Trouble } from "../parts/Trouble";
import { fullTime } from "../parts/time";
import { projectPath, taskPath } from "../shell/route";
import { useService } from "../shell/service";
import { type Past, projectBefore, type Read, taskBefore } from "./past";
import type { ProjectView } from "./project";

type Answer =
  | { readonly kind: "task"; readonly past: Past<TaskView> }
  | { readonly kind: "project"; readonly past: Past<ProjectView> };

interface ThenProps {
  /** `task:…` or `project:…`. */
  readonly channel: string;
  /** RFC 3339; null: now. */
  readonly at: string | null;
}

/** How a task or project was at a time. */
export function Then({ channel, at }: ThenProps) {
  const { http } = useService();
  const of = `${channel} ${at}`;
  const [answered, setAnswered] = useState<{ of: string; answer?: Answer; error?: Error }>({ of: "" });
  useEffect(() => {
    const stop = new AbortController();
    const { signal } = stop;
    const read: Read = (query) => http.get(`events?${query}`, { signal });
    const [kind, id] = split(channel);
    const ask = async (): Promise<Answer> => {
      if (kind === "task")
        return {
          kind,
          past: at === null ? now(await http.task(id, { signal })) : await taskBefore(read, id, at),
        };
      const past =
        at === null ? present(await http.project(id, { signal })) : await projectBefore(read, id, at);
      return { kind: "project", past };
    };
    ask().then(
      (answer) => signal.aborted || setAnswered({ of, answer }),
      (error: Error) => signal.aborted || setAnswered({ of, error }),
    );
    return () => stop.abort();
  }, [http, channel, at, of]);
  const time = at === null ? "Now" : fullTime(at);
  if (answered.of !== of)
    return (
      <p className="then" role="status">
        {time}: …
      </p>
    );
  if (answered.answer === undefined) return <Trouble error={answered.error} />;
  const { answer } = answered;
  return (
    <p className="then" role="status">
      {time}: {answer.kind === "task" ? <TaskThen channel={channel} view={answer.past.view} /> : null}
      {answer.kind === "project" ? <ProjectThen channel={channel} view={answer.past.view} /> : null}
      {answer.past.isCut && (
        <span className="soft"> What came before is no longer held, so this may lack something.</span>
      )}
    </p>
  );
}

function TaskThen({ channel, view }: { readonly channel: string; readonly view: TaskView }): ReactNode {
  const link = <Link to={taskPath(split(channel)[1])}>the task</Link>;
  if (view.status === undefined) return <>{link} had not begun.</>;
  const { percent } = view.progress ?? {};
  const question = view.confirmation?.question ?? view.confirmation?.tool;
  const ending = endingOf(view.result ?? null);
  return (
    <>
      {link} was <b className={`state ${view.status}`}>{view.status}</b>
      {typeof percent === "number" && `, ${Math.round(percent)} % done`}
      {view.status === "waiting" && question !== undefined && ` for an answer to “${question}”`}
      {ending && ` (${ending})`}.
    </>
  );
}

function ProjectThen({ channel, view }: { readonly channel: string; readonly view: ProjectView }): ReactNode {
  const link = <Link to={projectPath(split(channel)[1])}>the project</Link>;
  if (view.deleted) return <>{link} had been deleted.</>;
  if (!view.known) return <>{link} had not begun.</>;
  const members = [...view.members].map(([user, role]) => `${user} (${role})`);
  return (
    <>
      {link} {view.name !== undefined && <b>{view.name} </b>}had{" "}
      {members.length === 0 ? "no members" : members.join(", ")}.
    </>
  );
}

function split(channel: string): readonly [kind: string, id: string] {
  const at = channel.indexOf(":");
  return [channel.slice(0, at), channel.slice(at + 1)];
}

function now(state: TaskState): Past<TaskView> {
  return { view: taskViewOf(state), isCut: false };
}

function present({ name, deleted, members }: ProjectState): Past<ProjectView> {
  const roles = new Map(members.map(({ user_id, role }) => [user_id, role]));
  return {
    view: { known: true, created: true, deleted, name: name ?? undefined, members: roles },
    isCut: false,
  };
}
