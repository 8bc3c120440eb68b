// Puts the parts together.

function themeButton() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const button = html("button", {type: "button", class: "theme"});
  const label = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Use the ${dark() ? "light" : "dark"} theme`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    label();
    try {
      localStorage.setItem("pgbench-theme", root.dataset.theme);
    } catch {
      // Storage may be forbidden; the choice holds for this visit.
    }
  });
  system.addEventListener("change", label);
  label();
  $("#page-theme").replaceWith(button);
}

// The link of the section under the bar is marked.
function follow() {
  const links = new Map($$("nav li a").map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) seen[isIntersecting ? "add" : "delete"](target.id);
    const first = [...links.keys()].find((id) => seen.has(id));
    for (const [id, link] of links) {
      if (id === first) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, {rootMargin: "-56px 0px -60% 0px"});
  for (const id of links.keys()) observer.observe(document.getElementById(id));
}

for (const section of $$("section.track")) {
  const track = model.tracks.find(({name}) => name === section.dataset.track);
  const shown = new Shown(track, section);
  controls(shown);
  legend(shown);
  figures(shown);
}
$$("table.aggregate, table.task").forEach(sortable);
strips();
for (const code of $$("[data-copy]")) code.after(copyButton(code.dataset.copy));
themeButton();
follow();
addEventListener("hashchange", openFromHash);
addEventListener("scroll", () => tip.hide(), {passive: true});
// The figures moved what lies below them: go to the place that the address names once more.
if (location.hash.startsWith("#record=")) openFromHash();
else {
  address = location.hash;
  document.getElementById(fragment(location.hash))?.scrollIntoView({behavior: "instant"});
}
document.documentElement.dataset.ready = "true";
