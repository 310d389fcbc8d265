/** Errors, states and receipts, in words. */

const ADVICE: { readonly [code: string]: string } = {
  forbidden: "You may not see this: sign in as an admin.",
  access_denied: "You may not read this: ask an owner of the project to add you.",
  not_found: "The log has nothing of it: check the name.",
  history_unavailable: "The history can't be read now: Postgres is away. This is tried again by itself.",
  unavailable: "The service does not answer now. This is tried again by itself.",
  unauthorized: "The session has ended: sign in again.",
};

export function sentenceOf(error: Error & { readonly code?: string }): string {
  const advice = error.code === undefined ? undefined : ADVICE[error.code];
  return (
    advice ??
    `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}${/[.!?]$/.test(error.message) ? "" : "."}`
  );
}

const DONE: { readonly [command: string]: string } = {
  task_input: "Input",
  task_cancel: "Cancel",
  task_pause: "Pause",
  task_resume: "Resume",
  task_confirm: "Answer",
  task_start: "Start",
};

const REASONS: { readonly [reason: string]: string } = {
  no_input: "it has no open input; start it with --input",
  no_room: "it does not read what was sent before",
  not_running: "it is not running yet",
  already_paused: "it is paused already",
  not_paused: "it is not paused",
  no_confirmation: "that question is no longer open",
  task_ended: "the task has ended",
  id_in_use: "another command has that id",
  deadline: "it came too late",
  write_failed: "only a part of it was written",
  no_answer: "nobody has answered yet",
  no_runner: "whoever runs the task does not answer",
  no_result: "it was accepted, and nothing was heard since",
  runner_lost: "the runner of the task is lost",
  rights: "the right to it has ended",
};

const STATES: { readonly [state: string]: string } = {
  accepted: "was accepted",
  applied: "was applied",
  rejected: "was refused",
  expired: "came too late and was not applied",
  unknown: "may or may not have been applied",
};

export interface Outcome {
  readonly command: string;
  readonly state: string;
  readonly reason?: string | null | undefined;
}

/** What became of a command. */
export function outcomeOf({ command, state, reason }: Outcome): string {
  const why = reason ? `: ${REASONS[reason] ?? reason.replaceAll("_", " ")}` : "";
  const name = DONE[command] ?? DONE[`task_${command}`] ?? command;
  return `${name} ${STATES[state] ?? state}${why}.`;
}

/** Why a task has ended so, where that is known: of the `data` of its last event. */
export function endingOf(result: Readonly<Record<string, unknown>> | null): string | null {
  if (result === null) return null;
  const { exit_code: code, signal, reason, by } = result;
  const said = [
    typeof reason === "string" && reason !== "" ? (REASONS[reason] ?? reason.replaceAll("_", " ")) : null,
    typeof signal === "string" ? `signal ${signal}` : null,
    typeof code === "number" ? `exit code ${code}` : null,
    typeof by === "string" ? `by ${by}` : null,
  ].filter((one) => one !== null);
  return said.length === 0 ? null : said.join(", ");
}
