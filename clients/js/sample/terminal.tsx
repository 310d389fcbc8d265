/** The output of a task as text. Whatever is new is appended; what is shown is never rendered again. */

import type { TaskOutput } from "@lastseen/client/react";
import { type ReactElement, useLayoutEffect, useRef } from "react";

export function Terminal({ output }: { readonly output: TaskOutput }): ReactElement {
  const box = useRef<HTMLPreElement>(null);
  const shown = useRef(0);
  const decoders = useRef(new Map<string, TextDecoder>());
  useLayoutEffect(() => {
    let text = "";
    for (const { stream, data } of output.since(shown.current)) {
      const decoder = decoders.current.get(stream) ?? new TextDecoder();
      decoders.current.set(stream, decoder);
      text += decoder.decode(data, { stream: true });
    }
    shown.current = output.end;
    const pre = box.current;
    if (text === "" || !pre) return;
    pre.append(text);
    pre.dataset.characters = String(Number(pre.dataset.characters ?? 0) + text.length);
    pre.scrollTop = pre.scrollHeight;
  }, [output]);
  return <pre id="output" ref={box} />;
}
