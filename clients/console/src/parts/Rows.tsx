import { type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";

interface RowsProps {
  readonly count: number;
  readonly row: (index: number) => ReactNode;
  readonly label: string;
  /** How many rows before the first there are no more: whoever reads further down goes on reading the same ones. */
  readonly dropped?: number;
  /** Pixels. */
  readonly height?: number;
}

/** Very many rows of one height, of which only those in view are in the page. It stays at the end once it is there. */
export function Rows({ count, row, label, dropped = 0, height = 18 }: RowsProps) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [view, setView] = useState({ top: 0, size: 600 });
  const look = (): void => {
    const { scrollTop, clientHeight, scrollHeight } = box.current as HTMLDivElement;
    atEnd.current = scrollTop + clientHeight >= scrollHeight - height;
    setView({ top: scrollTop, size: clientHeight });
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: it follows the end as that moves.
  useLayoutEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [count]);
  const had = useRef(dropped);
  useLayoutEffect(() => {
    const gone = dropped - had.current;
    had.current = dropped;
    if (gone > 0 && !atEnd.current && box.current) box.current.scrollTop -= gone * height;
  }, [dropped, height]);
  useEffect(() => {
    const observer = new ResizeObserver(
      () => box.current && setView((had) => ({ ...had, size: box.current?.clientHeight ?? had.size })),
    );
    if (box.current) observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(view.top / height) - 10);
  const last = Math.min(count, Math.ceil((view.top + view.size) / height) + 10);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled by keys.
    <div className="rows" ref={box} onScroll={look} role="log" aria-label={label} tabIndex={0}>
      <div style={{ height: count * height }}>
        <div style={{ transform: `translateY(${first * height}px)` }}>
          {Array.from({ length: Math.max(0, last - first) }, (_, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a row is its place.
            <div className="row" key={first + at} style={{ height }}>
              {row(first + at)}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
