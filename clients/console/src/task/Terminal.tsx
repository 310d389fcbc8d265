import "@xterm/xterm/css/xterm.css";
import { Terminal as Xterm } from "@xterm/xterm";
import { useEffect, useRef } from "react";
import type { FollowedTask } from "./follow";
import { allowInlineStyles } from "./inlineStyles";
import { bytesOf } from "./lines";

/** The screen of a task's terminal, and what is typed into it. */
export default function Terminal({
  task,
  onInput,
}: {
  readonly task: FollowedTask;
  readonly onInput: (text: string) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const input = useRef(onInput);
  input.current = onInput;
  useEffect(() => {
    if (!box.current) return;
    allowInlineStyles();
    const { screen } = task;
    const terminal = new Xterm({
      cols: screen?.columns ?? 80,
      rows: screen?.rows ?? 24,
      fontSize: 13,
      scrollback: 10_000,
      screenReaderMode: true,
      theme: { background: "#11161c" },
    });
    terminal.open(box.current);
    if (screen) terminal.write(screen.text);
    let next = screen?.offset ?? 0;
    task.onTerminal = (data) => {
      const bytes = bytesOf(data);
      const had = Math.max(0, next - data.offset);
      if (had < bytes.length) terminal.write(bytes.subarray(had));
      next = Math.max(next, data.offset + data.bytes);
    };
    const typed = terminal.onData((text) => input.current(text));
    return () => {
      task.onTerminal = undefined;
      typed.dispose();
      terminal.dispose();
    };
  }, [task]);
  return <div className="terminal" ref={box} />;
}
