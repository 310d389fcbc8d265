import { useState } from "react";
import type { Acting } from "./useActing";

interface QuestionProps {
  /** The `data` of a `task_confirmation_required`. */
  readonly asked: Readonly<Record<string, unknown>>;
  readonly acting: Acting;
}

/** What a task asks before it goes on. */
export function Question({ asked, acting }: QuestionProps) {
  const { confirmation_id: id, question, tool, description, input } = asked;
  // Once it is answered it goes, as soon as that is told; what came to nothing can be said again.
  const [isAnswered, setAnswered] = useState(false);
  const answer = (approved: boolean): void => {
    setAnswered(true);
    void acting.confirm(String(id), approved).then((wasApplied) => setAnswered(wasApplied));
  };
  return (
    <section className="question" role="alert">
      <p>
        <strong>{String(question ?? tool ?? "The task asks whether it may go on.")}</strong>
      </p>
      {typeof description === "string" && description !== question && <p>{description}</p>}
      {input !== undefined && <pre>{JSON.stringify(input, null, 2)}</pre>}
      <p className="buttons">
        <button type="button" className="primary" disabled={isAnswered} onClick={() => answer(true)}>
          Allow
        </button>
        <button type="button" disabled={isAnswered} onClick={() => answer(false)}>
          Deny
        </button>
      </p>
    </section>
  );
}
