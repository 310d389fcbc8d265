import "@xterm/xterm/css/xterm.css";
import type { ScreenData } from "@lastseen/client";
import type { TaskStore } from "@lastseen/client/stores";
import { Terminal as Xterm } from "@xterm/xterm";
import { useEffect, useRef } from "react";
import { begunOf, type Size } from "./follow";
import { allowInlineStyles } from "./inlineStyles";
import { answerNothing } from "./queries";
import { TERMINAL } from "./reading";

/** Lines above the screen that are kept. */
const SCROLLBACK = 10_000;
/** Pixels. */
const LARGEST = 14;
const SMALLEST = 9;
/** So many bytes are handed over at most before they are shown. */
const UNSHOWN = 1024 * 1024;

interface TerminalProps {
  readonly store: TaskStore;
  /** Where it begins; null: with the stream. */
  readonly screen: ScreenData | null;
  /** As far as that is known. */
  readonly size: Size | undefined;
  readonly isOver: boolean;
  readonly onInput: (text: string) => void;
}

/**
 * The screen of a task's terminal, and what is typed into it. Its size is the task's: what is written there is
 * laid out for that. So letters become smaller where there is little room, and below that it is scrolled.
 */
export default function Terminal({ store, screen, size, isOver, onInput }: TerminalProps) {
  const box = useRef<HTMLDivElement>(null);
  const shown = useRef<Xterm>(null);
  const input = useRef(onInput);
  input.current = onInput;
  const known = useRef(size);
  known.current = size;
  useEffect(() => {
    const within = box.current;
    if (!within) return;
    allowInlineStyles();
    const terminal = new Xterm({
      cols: known.current?.columns ?? 80,
      rows: known.current?.rows ?? 24,
      fontSize: LARGEST,
      fontFamily: getComputedStyle(within).fontFamily,
      scrollback: SCROLLBACK,
      screenReaderMode: true,
      theme: { background: "#11161c" },
    });
    shown.current = terminal;
    answerNothing(terminal);
    terminal.attachCustomKeyEventHandler(({ key, shiftKey }) => {
      // Else nobody gets out of it without a mouse.
      if (key !== "Escape" || !shiftKey) return true;
      terminal.blur();
      return false;
    });
    terminal.open(within);
    if (screen) terminal.write(screen.text);
    let next = screen?.offset ?? 0;
    let end = 0;
    let unshown = 0;
    const feed = (): void => {
      const { output, events } = store.get();
      const told = begunOf(events).size;
      if (told) resize(terminal, within, told);
      for (const chunk of output.since(end)) {
        if (unshown >= UNSHOWN) return;
        end = Math.max(end, output.first) + 1;
        if (chunk.stream !== TERMINAL) continue;
        const bytes = chunk.data.subarray(Math.max(0, next - chunk.offset));
        next = Math.max(next, chunk.offset + chunk.data.length);
        if (bytes.length === 0) continue;
        unshown += bytes.length;
        terminal.write(bytes, () => {
          const wasFull = unshown >= UNSHOWN;
          unshown -= bytes.length;
          if (wasFull && unshown < UNSHOWN) feed();
        });
      }
    };
    feed();
    const leave = store.subscribe(feed);
    const typed = terminal.onData((text) => input.current(text));
    let width = 0;
    let fitting = 0;
    const observer = new ResizeObserver(() => {
      // Its height follows from the letters; only another width asks for others.
      if (within.clientWidth === width) return;
      width = within.clientWidth;
      // Not in this step: it changes a size that is observed, of which browsers tell as an error of the page.
      cancelAnimationFrame(fitting);
      fitting = requestAnimationFrame(() => fitLetters(terminal, within));
    });
    observer.observe(within);
    return () => {
      leave();
      observer.disconnect();
      cancelAnimationFrame(fitting);
      typed.dispose();
      terminal.dispose();
      shown.current = null;
    };
  }, [store, screen]);
  useEffect(() => {
    if (shown.current) shown.current.options.disableStdin = isOver;
  }, [isOver]);
  return <div className="tty" ref={box} />;
}

function resize(terminal: Xterm, within: HTMLElement, { columns, rows }: Size): void {
  if (terminal.cols === columns && terminal.rows === rows) return;
  terminal.resize(columns, rows);
  fitLetters(terminal, within);
}

/** Letters as large as there is room for. */
function fitLetters(terminal: Xterm, within: HTMLElement): void {
  const drawn = within.querySelector(".xterm-screen");
  const { fontSize = LARGEST } = terminal.options;
  if (!drawn || drawn.clientWidth === 0) return;
  const { paddingLeft, paddingRight } = getComputedStyle(within);
  const room = within.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight);
  const wanted = Math.floor((fontSize * room * 2) / drawn.clientWidth) / 2;
  const next = Math.min(LARGEST, Math.max(SMALLEST, wanted));
  if (next !== fontSize) terminal.options.fontSize = next;
}
