/**
 * Questions that programs ask of their terminal: where the cursor is, what it can do, which colours it has.
 *
 * A page is one of many viewers, perhaps of the past, and what it answers would be typed into the program: so none of
 * them is answered.
 */

import type { IFunctionIdentifier, Terminal } from "@xterm/xterm";

const CSI: readonly IFunctionIdentifier[] = [
  { final: "n" },
  { prefix: "?", final: "n" },
  { final: "c" },
  { prefix: ">", final: "c" },
  { prefix: "=", final: "c" },
  { prefix: ">", final: "q" },
  { prefix: "?", final: "u" },
  { intermediates: "$", final: "p" },
  { prefix: "?", intermediates: "$", final: "p" },
  { final: "t" },
];
const COLOURS = [4, 10, 11, 12];

export function answerNothing({ parser }: Terminal): void {
  for (const id of CSI) parser.registerCsiHandler(id, () => true);
  parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => true);
  for (const number of COLOURS) parser.registerOscHandler(number, (data) => data.includes("?"));
}
