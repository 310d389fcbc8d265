import { useEffect, useRef } from "react";
import { type Action, isPressable, isTyping, pressed } from "./keys";

/** Have `act` called with what the keyboard asks for, but for keys that a field or a terminal takes. */
export function useKeys(act: (action: Action) => boolean | undefined): void {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    let pending: string | null = null;
    const onKey = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (isTyping(event.target)) {
        if (event.key === "Escape" && !(event.target as HTMLElement).closest(".xterm")) {
          (event.target as HTMLElement).blur();
        }
        return;
      }
      if (event.key === "Enter" && isPressable(event.target)) return;
      const said = pressed(event.key, pending);
      pending = said.pending;
      if (said.action !== null && latest.current(said.action) === true) event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}
