/** Who a JWT says that its bearer is; undefined where it can't be read. */
export function subjectOf(token: string): string | undefined {
  try {
    const claims = atob((token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/"));
    const bytes = Uint8Array.from(claims, (character) => character.charCodeAt(0));
    const subject: unknown = (JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown }).sub;
    return typeof subject === "string" ? subject : undefined;
  } catch {
    return undefined;
  }
}
