/** Light or dark: the system's, unless the user has chosen. */

export type Theme = "system" | "light" | "dark";

const KEY = "lastseen.theme";
const NEXT: { readonly [T in Theme]: Theme } = { system: "light", light: "dark", dark: "system" };

export function keptTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

/** Show it, and keep it for the next visit. */
export function applyTheme(theme: Theme): void {
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(KEY);
  } else {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(KEY, theme);
  }
  document.dispatchEvent(new Event("themechange"));
}

export function nextTheme(theme: Theme): Theme {
  return NEXT[theme];
}
