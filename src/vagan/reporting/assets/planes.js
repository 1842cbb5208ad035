"use strict";

// Axes of the voxels in RAS+ order: x to the subject's right, y to the front, z up. Each plane shows two of them, the
// first to the right, the second upwards; what is left is its normal.
const PLANES = [
  { name: "Coronal", across: 0, up: 2, normal: 1 },
  { name: "Sagittal", across: 1, up: 2, normal: 0 },
  { name: "Axial", across: 0, up: 1, normal: 2 },
];
const ENDS = [["L", "R"], ["P", "A"], ["I", "S"]];
const KEYS = {
  ArrowLeft: ["across", -1], ArrowRight: ["across", 1], ArrowDown: ["up", -1], ArrowUp: ["up", 1],
  PageDown: ["normal", -1], PageUp: ["normal", 1],
};
const WHEEL_STEP = 40; // pixels of scrolling for one slice; trackpads send many small events

// Volumes, one at a time: three slices through one point, linked by a crosshair, at one scale in mm.
class Planes {
  constructor(stage, template, data) {
    this.data = data;
    this.entries = data.cases.map((shown) => ({ shown, maps: new Map() }));
    this.card = template.content.firstElementChild.cloneNode(true);
    stage.append(this.card);
    this.frame = this.card.querySelector(".planes");
    this.output = this.card.querySelector("output");
    this.planes = [...this.card.querySelectorAll(".plane")].map((element, number) => {
      const plane = { ...PLANES[number], element, canvas: element.querySelector("canvas"), scrolled: 0 };
      this.listen(plane);
      return plane;
    });
  }

  async show(method, place) {
    const entry = this.entries[place], { shown } = entry;
    this.values = await loadMap(entry, method, place);
    describe(this.card, shown, method, this.values.map);
    if (place === this.place) return;
    this.place = place;
    this.shape = shown.shape;
    this.affine = shown.affine;
    const spacing = [0, 1, 2].map((axis) => (shown.affine ? Math.hypot(...shown.affine.map((row) => row[axis])) : 1));
    const mm = this.shape.map((size, axis) => size * spacing[axis]);
    const [x, y, z] = mm;
    this.frame.style.setProperty("--row", `${x}fr ${y}fr ${x}fr`);
    this.frame.style.setProperty("--grid", `${x}fr ${y}fr`);
    this.frame.style.setProperty("--aspect", (2 * x + y) / Math.max(y, z));
    for (const { element, canvas, across, up } of this.planes) {
      [canvas.width, canvas.height] = [this.shape[across], this.shape[up]];
      canvas.style.aspectRatio = `${mm[across]} / ${mm[up]}`;
      const letters = shown.affine ? [...ENDS[across], ...ENDS[up]] : ["", "", "", ""]; // left, right, bottom, top
      for (const [number, end] of element.querySelectorAll("b").entries()) end.textContent = letters[number];
    }
    this.at = this.peak();
  }

  draw(settings) {
    this.settings = settings;
    const [, deep, high] = this.shape, strides = [deep * high, high, 1];
    for (const { element, canvas, across, up, normal } of this.planes) {
      const start = this.at[normal] * strides[normal] + (canvas.height - 1) * strides[up];
      const voxel = (column, row) => start + column * strides[across] - row * strides[up];
      paint(canvas, voxel, this.values, this.data.hues, settings);
      element.style.setProperty("--x", (this.at[across] + 0.5) / canvas.width);
      element.style.setProperty("--y", 1 - (this.at[up] + 0.5) / canvas.height);
    }
    this.tell(this.at);
  }

  listen(plane) {
    const { canvas } = plane;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.move(this.under(plane, event));
    };
    canvas.onpointermove = (event) => {
      const at = this.under(plane, event);
      if (canvas.hasPointerCapture(event.pointerId)) this.move(at);
      else this.tell(at);
    };
    canvas.onpointerleave = () => this.tell(this.at);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      plane.scrolled += event.deltaY * (event.deltaMode ? WHEEL_STEP : 1);
      if (Math.abs(plane.scrolled) < WHEEL_STEP) return;
      this.step(plane.normal, -Math.sign(plane.scrolled));
      plane.scrolled = 0;
    }, { passive: false });
    canvas.onkeydown = (event) => {
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      const [axis, by] = KEYS[event.key];
      this.step(plane[axis], by);
    };
  }

  // The voxel under the pointer, in the slice that the plane shows.
  under({ canvas, across, up }, event) {
    const box = canvas.getBoundingClientRect(), at = [...this.at];
    at[across] = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
    at[up] = canvas.height - 1 - Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
    return this.inside(at);
  }

  step(axis, by) {
    const at = [...this.at];
    at[axis] += by;
    this.move(this.inside(at));
  }

  inside(at) {
    return at.map((value, axis) => Math.min(Math.max(value, 0), this.shape[axis] - 1));
  }

  move(at) {
    this.at = at;
    this.draw(this.settings);
  }

  tell(at) {
    const { image, map, scale } = this.values, [, deep, high] = this.shape, voxel = (at[0] * deep + at[1]) * high + at[2];
    const place = this.affine ? this.affine.slice(0, 3).map((row) => (row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3]).toFixed(1)) : at;
    const where = `x ${place[0]}, y ${place[1]}, z ${place[2]} ${this.affine ? "mm" : "(voxel)"}`;
    const effect = map ? `, effect ${(map[voxel] * scale).toPrecision(2)}` : "";
    this.output.textContent = `${where}: intensity ${(image[voxel] / 127.5 - 1).toFixed(2)}${effect}`.replaceAll("-", "−");
  }

  // Where the effect is largest; the middle if there is no map.
  peak() {
    const { map } = this.values, [, deep, high] = this.shape;
    if (!map) return this.shape.map((size) => size >> 1);
    let best = 0;
    for (let at = 1; at < map.length; at++) if (Math.abs(map[at]) > Math.abs(map[best])) best = at;
    return [Math.floor(best / (deep * high)), Math.floor(best / high) % deep, best % high];
  }
}
