"use strict";
// All the script there is; every page works without it.

// <section id="x" data-refresh="5">: fetched again every 5 s while the page is looked at, and put in place. What has the focus
// in it keeps it; what is being filled in is left alone.
const alike = (part, one) => [...part.querySelectorAll("a, button, summary, [tabindex]")]
  .filter((it) => it.tagName === one.tagName && it.getAttribute("href") === one.getAttribute("href"));
for (const part of document.querySelectorAll("[data-refresh][id]")) {
  const refresh = async () => {
    const before = document.getElementById(part.id);
    if (document.hidden || before.querySelector("details[open], :is(input, select, textarea):focus")) return;
    const answer = await fetch(location.href, { headers: { "X-Background": "1" } });
    if (answer.redirected) return location.reload(); // the session is over
    if (!answer.ok) return before.classList.add("stale");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(part.id);
    if (!fresh || before.querySelector("details[open]")) return;
    const focused = document.activeElement;
    const place = alike(before, focused).indexOf(focused);
    before.replaceWith(fresh);
    if (place >= 0) alike(fresh, focused)[place]?.focus({ preventScroll: true });
  };
  setInterval(() => refresh().catch(() => document.getElementById(part.id).classList.add("stale")), 1000 * part.dataset.refresh);
}

// <input type="checkbox" data-all="ids">: ticks every box named ids of its form.
for (const all of document.querySelectorAll("[data-all]")) {
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll(`input[type=checkbox][name="${all.dataset.all}"]`)) box.checked = all.checked;
  });
}

// One open confirmation at a time; Escape closes it.
document.addEventListener("toggle", (event) => {
  if (!event.target.matches?.("details.confirm") || !event.target.open) return;
  for (const other of document.querySelectorAll("details.confirm[open]")) if (other !== event.target) other.open = false;
  event.target.querySelector("input:not([type=hidden]), select, textarea, button")?.focus();
}, true);
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector("details.confirm[open]");
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});
