/** How much a counter rose a second from one answer to the next; null where it began anew or is not known. */
export function rate(
  before: number | null | undefined,
  after: number | null | undefined,
  ms: number,
): number | null {
  if (before == null || after == null || ms <= 0 || after < before) return null;
  return ((after - before) * 1000) / ms;
}
