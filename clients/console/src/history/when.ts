/**
 * A time as somebody says it: `yesterday 10:00`, `10:00`, `2 h ago`, or a date, `2026-01-31 12:00`. Null where it is none.
 * By the browser's time zone; `now` in ms.
 */
export function when(text: string, now: number): Date | null {
  const said = text.trim().toLowerCase();
  const ago = /^(\d+)\s*(s|min|h|d)\w*\s+ago$/.exec(said);
  if (ago) return new Date(now - Number(ago[1]) * (UNITS[ago[2] ?? ""] ?? 0));
  const day = /^(?:(today|yesterday)\s*)?(?:([01]?\d|2[0-3]):([0-5]\d))?$/.exec(said);
  if (said !== "" && day) {
    const at = new Date(now);
    if (day[1] === "yesterday") at.setDate(at.getDate() - 1);
    at.setHours(Number(day[2] ?? 0), Number(day[3] ?? 0), 0, 0);
    return at;
  }
  // What else Date reads, it guesses.
  if (!/^\d{4}-\d{2}/.test(said)) return null;
  const at = new Date(text.trim());
  return Number.isNaN(at.getTime()) ? null : at;
}

const UNITS: { readonly [unit: string]: number } = { s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };
