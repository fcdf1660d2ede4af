// The ROC: which scale and which curves are shown, and what the curve under the pointer or the arrow keys says.
"use strict";
(() => {
  const data = document.getElementById("roc-data");
  if (!data) return;
  const { left, right, top, bottom, floor, curves } = JSON.parse(data.textContent);
  const picture = document.getElementById("roc");
  const reader = document.getElementById("roc-reader");
  const readout = document.getElementById("roc-readout");
  const cursor = document.getElementById("roc-cursor");
  const legend = document.getElementById("roc-legend");
  const switchButton = document.getElementById("roc-scale");
  const shown = new Set();
  let logarithmic = false;
  let current = null; // { curve, point } that is read

  for (const curve of curves) {
    curve.holdouts = curve.fp.at(-1);
    curve.members = curve.tp.at(-1);
  }

  // Places of rates in the picture.
  const scaled = (rate) => (logarithmic ? 1 - Math.log(Math.max(rate, floor)) / Math.log(floor) : rate);
  const unscaled = (share) => (logarithmic ? floor ** (1 - share) : share);
  const x = (rate) => left + (right - left) * scaled(rate);
  const y = (rate) => bottom + (top - bottom) * scaled(rate);

  function show(place, visible) {
    if (visible) shown.add(place);
    else shown.delete(place);
    for (const path of picture.querySelectorAll(`[data-curve="${place}"]`)) path.toggleAttribute("hidden", !visible);
    legend.querySelector(`[data-curve="${place}"]`).setAttribute("aria-pressed", String(visible));
    if (current && !shown.has(current.curve)) read(null);
  }

  // The last point whose false-positive rate is not above the one given: the curve is a staircase.
  function pointAt(curve, fpr) {
    const allowed = fpr * curve.holdouts + 1e-9;
    let low = 0;
    let high = curve.fp.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (curve.fp[middle] <= allowed) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  const percent = (rate) => `${(100 * rate).toFixed(rate > 0 && rate < 0.01 ? 2 : 1)}%`;

  function read(next) {
    current = next;
    cursor.toggleAttribute("hidden", !next);
    for (const path of picture.querySelectorAll("path.read")) path.classList.remove("read");
    if (!next) {
      readout.textContent = "Point at a curve to read it.";
      return;
    }
    const curve = curves[next.curve];
    const [fp, tp] = [curve.fp[next.point], curve.tp[next.point]];
    const [fpr, tpr] = [fp / curve.holdouts, tp / curve.members];
    for (const path of picture.querySelectorAll(`path[data-curve="${next.curve}"]`)) path.classList.add("read");
    cursor.querySelector("path").setAttribute("d", `M${x(fpr)} ${bottom}V${y(tpr)}H${left}`);
    cursor.querySelector("circle").setAttribute("cx", x(fpr));
    cursor.querySelector("circle").setAttribute("cy", y(tpr));
    const name = document.createElement("strong");
    name.textContent = curve.name;
    readout.replaceChildren(
      name,
      ` FPR ${percent(fpr)} (${fp} of ${curve.holdouts}), TPR ${percent(tpr)} (${tp} of ${curve.members})`,
    );
  }

  function nearest(event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    const fpr = unscaled(Math.min(1, Math.max(0, (place.x - left) / (right - left))));
    let best = null;
    let least = Infinity;
    for (const index of shown) {
      const curve = curves[index];
      const point = pointAt(curve, fpr);
      const before = point ? curve.tp[point - 1] / curve.members : 0;
      // On the rise itself every height between the two points is on the curve.
      const onRise = Math.abs(x(curve.fp[point] / curve.holdouts) - place.x) < 6;
      const [high, low] = [y(curve.tp[point] / curve.members), onRise ? y(before) : y(curve.tp[point] / curve.members)];
      const distance = place.y < high ? high - place.y : Math.max(0, place.y - low);
      if (distance < least) [best, least] = [{ curve: index, point }, distance];
    }
    read(best);
  }

  function step(event) {
    const order = [...shown].sort((one, other) => one - other);
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move || !order.length) return;
    event.preventDefault();
    if (!current) {
      read({ curve: order[0], point: 0 });
      return;
    }
    const place = (order.indexOf(current.curve) + move[0] + order.length) % order.length;
    const curve = curves[order[place]];
    const before = curves[current.curve];
    const point = move[0] ? pointAt(curve, before.fp[current.point] / before.holdouts) : current.point + move[1];
    read({ curve: order[place], point: Math.min(Math.max(point, 0), curve.fp.length - 1) });
  }

  const keys = [...legend.querySelectorAll("button")];
  for (const key of keys) {
    const place = Number(key.dataset.curve);
    if (key.getAttribute("aria-pressed") === "true") shown.add(place);
    key.addEventListener("click", () => show(place, !shown.has(place)));
  }
  document.getElementById("roc-all").addEventListener("click", () => keys.forEach((_, place) => show(place, true)));
  document.getElementById("roc-none").addEventListener("click", () => keys.forEach((_, place) => show(place, false)));
  switchButton.addEventListener("click", () => {
    logarithmic = !logarithmic;
    switchButton.setAttribute("aria-pressed", String(logarithmic));
    for (const plot of picture.querySelectorAll("[data-scale]"))
      plot.toggleAttribute("hidden", (plot.dataset.scale === "log") !== logarithmic);
    read(current);
  });
  reader.addEventListener("pointermove", nearest);
  reader.addEventListener("pointerdown", nearest);
  reader.addEventListener("pointerleave", () => read(null));
  reader.addEventListener("keydown", step);
  reader.addEventListener("focus", () => {
    if (!current && shown.size && reader.matches(":focus-visible")) read({ curve: Math.min(...shown), point: 0 });
  });
  reader.addEventListener("blur", () => read(null));
  document.documentElement.classList.add("scripting");
})();
