/* GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 * SPDX-FileCopyrightText: 2026, nvmeof.spdk contributors
 */
// The page can be read without this: it adds search, filters, sorting and opening of paths.
(() => {
  "use strict";
  const root = document.documentElement;
  const table = document.getElementById("table");
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const tiles = [...document.querySelectorAll(".tile")];
  const findings = [...document.querySelectorAll(".finding")];
  const volumes = table ? [...table.tBodies] : [];
  const heads = table ? [...table.tHead.rows[0].cells] : [];

  root.classList.add("js");
  document.querySelector(".tools").hidden = false;
  for (const button of document.querySelectorAll("button[disabled]")) button.disabled = false;

  const open = (volume, wanted) => {
    volume.classList.toggle("open", wanted);
    volume.querySelector("details").open = wanted;
    volume.querySelector(".name").setAttribute("aria-expanded", String(wanted));
  };

  const pressed = () => tiles.filter((tile) => tile.getAttribute("aria-pressed") === "true").map((tile) => tile.dataset.verdict);

  const remember = () => {
    const state = new URLSearchParams();
    if (search.value) state.set("q", search.value);
    if (pressed().length) state.set("verdict", pressed().join(","));
    history.replaceState(null, "", "#" + state.toString());
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = pressed();
    const has = (element) => words.every((word) => element.dataset.search.includes(word));
    let shown = 0;
    for (const volume of volumes) {
      volume.hidden = !(has(volume) && (!verdicts.length || verdicts.includes(volume.dataset.verdict)));
      if (!volume.hidden) shown += 1;
    }
    for (const finding of findings) finding.hidden = !has(finding);
    count.value = shown === volumes.length ? `${shown} volumes` : `${shown} of ${volumes.length} volumes`;
  };

  const sort = (head) => {
    const place = heads.indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (volume) => volume.rows[0].cells[place].dataset.sort;
    const numbers = head.classList.contains("size");
    const compare = (one, other) => numbers ? Number(one) - Number(other) : one.localeCompare(other, "en", { numeric: true });
    volumes.sort((one, other) => (down ? -1 : 1) * compare(value(one), value(other)));
    table.append(...volumes);
  };

  for (const head of heads) head.querySelector("button").addEventListener("click", () => sort(head));
  for (const tile of tiles) {
    tile.addEventListener("click", () => {
      tile.setAttribute("aria-pressed", String(tile.getAttribute("aria-pressed") !== "true"));
      filter();
      remember();
    });
  }
  for (const volume of volumes) {
    volume.querySelector(".name").addEventListener("click", () => open(volume, !volume.classList.contains("open")));
  }
  search.addEventListener("input", () => { filter(); remember(); });
  document.getElementById("open-all").addEventListener("click", () => volumes.forEach((volume) => open(volume, !volume.hidden)));
  document.getElementById("close-all").addEventListener("click", () => volumes.forEach((volume) => open(volume, false)));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== search) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      filter();
      remember();
    }
  });

  // A link to a volume opens its path, whatever the filters hide; other fragments are the state that was remembered.
  const follow = () => {
    const target = volumes.find((volume) => "#" + volume.id === location.hash);
    if (target) {
      target.hidden = false;
      open(target, true);
      target.scrollIntoView();
      return;
    }
    const state = new URLSearchParams(location.hash.slice(1));
    search.value = state.get("q") || "";
    const verdicts = (state.get("verdict") || "").split(",");
    for (const tile of tiles) tile.setAttribute("aria-pressed", String(verdicts.includes(tile.dataset.verdict)));
    filter();
  };
  window.addEventListener("hashchange", follow);
  filter();
  follow();
})();
