import type { CommandResult } from "@lastseen/client";
import { useMemo, useState } from "react";
import { outcomeOf } from "../parts/sentences";
import { useService } from "../shell/service";

/** What can be done with a task. */
export interface Acting {
  /** What became of what was done last, in words. */
  readonly said: string;
  readonly input: (text: string) => void;
  /** The same of what is typed into its terminal, which shows by itself what becomes of it. */
  readonly type: (text: string) => void;
  readonly pause: () => void;
  readonly resume: () => void;
  readonly cancel: () => void;
  /** Whether it was applied. */
  readonly confirm: (confirmationId: string, approved: boolean) => Promise<boolean>;
}

export function useActing(id: string): Acting {
  const { client } = useService();
  const [said, setSaid] = useState("");
  const does = useMemo(() => {
    const act = async (command: string, asked: Promise<CommandResult>): Promise<boolean> => {
      setSaid(`${command} …`);
      try {
        const { success, state, reason } = await asked;
        setSaid(outcomeOf({ command, state, reason }));
        return success;
      } catch (error) {
        setSaid((error as Error).message);
        return false;
      }
    };
    return {
      input: (text: string) => void act("input", client.sendTaskInput(id, text)),
      type: (text: string) => {
        client.sendTaskInput(id, text).then(
          ({ success, state, reason }) =>
            setSaid(success ? "" : outcomeOf({ command: "input", state, reason })),
          (error: Error) => setSaid(error.message),
        );
      },
      pause: () => void act("pause", client.pauseTask(id)),
      resume: () => void act("resume", client.resumeTask(id)),
      cancel: () => void act("cancel", client.cancelTask(id)),
      confirm: (confirmationId: string, approved: boolean) =>
        act("confirm", client.confirmTask(id, confirmationId, approved)),
    };
  }, [client, id]);
  return { said, ...does };
}
