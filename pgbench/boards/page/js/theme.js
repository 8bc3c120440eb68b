// Before the first paint: the theme that was chosen on an earlier visit.
try {
  const chosen = localStorage.getItem("pgbench-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; the system's theme holds.
}
