import type { MouseEvent, ReactNode } from "react";
import { go } from "../shell/route";

interface LinkProps {
  readonly to: string;
  readonly children: ReactNode;
  readonly className?: string;
  readonly isCurrent?: boolean;
  readonly isRow?: boolean;
}

/** A link within the console: a plain click loads nothing. */
export function Link({ to, children, className, isCurrent = false, isRow = false }: LinkProps) {
  const click = (event: MouseEvent): void => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return (
    <a
      href={to}
      className={className}
      onClick={click}
      aria-current={isCurrent ? "page" : undefined}
      data-row={isRow ? "" : undefined}
    >
      {children}
    </a>
  );
}
