// Light, dark, or as the system has it. It runs before anything is drawn, so that nothing flashes.

"use strict";

(() => {
  const PLACE = "softprompt-theme";
  const root = document.documentElement;

  const kept = () => {
    try {
      return localStorage.getItem(PLACE) ?? "";
    } catch {
      return ""; // the browser keeps nothing for pages
    }
  };

  const show = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };

  const keep = (theme) => {
    try {
      if (theme) localStorage.setItem(PLACE, theme);
      else localStorage.removeItem(PLACE);
    } catch {
      // it is shown all the same
    }
  };

  show(kept());
  document.addEventListener("DOMContentLoaded", () => {
    const themes = document.getElementById("themes");
    for (const radio of themes.querySelectorAll("input")) radio.checked = radio.value === (root.dataset.theme ?? "");
    themes.addEventListener("change", ({ target }) => {
      show(target.value);
      keep(target.value);
    });
  });
})();
