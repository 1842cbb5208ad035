"use strict";

// The controls around Pictures (2-D) or Planes (3-D). Data: see viewer_data in page.py.
async function startViewer(viewer, data) {
  const part = (selector) => viewer.querySelector(selector);
  const stage = part(".stage"), controls = part("form").elements;
  stage.replaceChildren();
  viewer.hidden = false;
  const Kind = data.volumes ? Planes : Pictures;
  const shown = new Kind(stage, part(data.volumes ? "template.volume" : "template.picture"), data);
  fill(controls.method, data.methods.map((method) => method.name));
  fill(controls.image, data.cases.map(({ name, why }) => (why ? `${name} (${why})` : name)));
  controls.image.closest("label").hidden = !data.volumes || data.cases.length < 2;
  controls.method.closest("label").hidden = data.methods.length < 2;

  const state = () => ({
    method: data.methods[controls.method.selectedIndex],
    blend: controls.blend.disabled ? 0 : controls.blend.valueAsNumber,
    threshold: controls.threshold.valueAsNumber,
    opacity: controls.opacity.valueAsNumber,
    black: controls.black.valueAsNumber,
    white: controls.white.valueAsNumber,
  });
  const draw = () => {
    const now = state(), limit = now.method.limit;
    part(".blend output").textContent = controls.blend.disabled ? "not in image units" : percent(now.blend);
    part(".threshold output").textContent = (now.threshold * limit).toPrecision(2);
    part(".opacity output").textContent = percent(now.opacity);
    part(".window output").textContent = `${now.black} to ${now.white}`.replaceAll("-", "−");
    part(".low").textContent = `−${limit.toPrecision(2)}`;
    part(".high").textContent = `+${limit.toPrecision(2)}`;
    shown.draw(now);
  };
  const load = async () => {
    const { method } = state();
    controls.blend.disabled = !method.off;
    viewer.setAttribute("aria-busy", "true");
    await shown.show(method, Math.max(controls.image.selectedIndex, 0));
    draw();
    viewer.setAttribute("aria-busy", "false");
  };
  let last = Promise.resolve(); // one after the other, so that the last choice is the one that stays
  const reload = () => (last = last.then(load).catch((error) => failed(viewer, error)));
  part("form").onsubmit = (event) => event.preventDefault();
  controls.method.onchange = controls.image.onchange = reload;
  for (const slider of part("form").querySelectorAll("[type=range]")) slider.oninput = draw;
  await reload();
}

function fill(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name)));
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function failed(viewer, error) {
  const note = viewer.querySelector(".failed");
  note.textContent = `The interactive viewer needs a newer browser (${error.message}). The figures show the same images.`;
  note.hidden = false;
}

for (const viewer of document.querySelectorAll(".viewer")) {
  const data = viewer.querySelector("script[type='application/json']");
  if (data) startViewer(viewer, JSON.parse(data.textContent)).catch((error) => failed(viewer, error));
}
