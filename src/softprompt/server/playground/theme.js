// Applies the light, dark or system theme. The script runs before the first paint, so that nothing flashes.

"use strict";

(() => {
  const THEME_STORAGE_NAME = "softprompt-theme";
  const root = document.documentElement;

  const readTheme = () => {
    try {
      return localStorage.getItem(THEME_STORAGE_NAME) ?? "";
    } catch {
      return ""; // storage is disabled
    }
  };

  const applyTheme = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };

  const storeTheme = (theme) => {
    try {
      if (theme) localStorage.setItem(THEME_STORAGE_NAME, theme);
      else localStorage.removeItem(THEME_STORAGE_NAME);
    } catch {
      // the theme is applied without being stored
    }
  };

  applyTheme(readTheme());
  document.addEventListener("DOMContentLoaded", () => {
    const themes = document.getElementById("themes");
    for (const radio of themes.querySelectorAll("input")) radio.checked = radio.value === (root.dataset.theme ?? "");
    themes.addEventListener("change", ({ target }) => {
      applyTheme(target.value);
      storeTheme(target.value);
    });
  });
})();
