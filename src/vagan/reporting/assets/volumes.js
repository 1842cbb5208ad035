"use strict";

const TRANSPARENT_BELOW_MINIMUM = 1; // of NiiVue's kinds of colour maps: from zero to the maximum
const STEPS = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, 0, -1], ArrowUp: [0, 0, 1],
  PageDown: [0, -1, 0], PageUp: [0, 1, 0],
};

// Volumes, one at a time: three linked slices; the image, over it the image without the effect, over both the effect.
class Volumes {
  constructor(stage, template, data) {
    this.data = data;
    this.card = template.content.firstElementChild.cloneNode(true);
    stage.append(this.card);
    this.canvas = this.card.querySelector("canvas");
    this.nv = new niivue.Niivue({
      crosshairColor: [1, 0.8, 0.2, 0.7], crosshairWidth: 0.2, crosshairWidthUnit: "mm", crosshairGap: 6,
      fontColor: [0.9, 0.9, 0.9, 1], fontMinPx: 14,
      dragAndDropEnabled: false, loadingText: "", logLevel: "error", multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
      viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "",
    });
    for (const [sign, hue] of data.hues.entries()) this.nv.addColormap(`effect${sign}`, ramp(hue));
    this.nv.onLocationChange = (place) => this.tell(place);
    this.canvas.addEventListener("keydown", (event) => {
      if (!(event.key in STEPS)) return;
      event.preventDefault();
      this.nv.moveCrosshairInVox(...STEPS[event.key]);
    });
  }

  async show(method, place) {
    const { nv, data } = this, shown = data.cases[place], map = method.maps[place];
    this.ready ??= nv.attachToCanvas(this.canvas);
    await this.ready;
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    const grey = { base64: shown.image, name: "image.nii.gz", colormap: "gray", cal_min: -1, cal_max: 1 };
    const image = await niivue.NVImage.loadFromBase64(grey);
    nv.addVolume(image);
    if (map) {
      const without = await niivue.NVImage.loadFromBase64({ ...grey, opacity: 0 });
      const effect = await niivue.NVImage.loadFromBase64({
        base64: map.data, name: "effect.nii.gz", colormap: "effect0", colormapNegative: "effect1",
        cal_min: 0, cal_max: method.limit,
      });
      effect.colormapType = TRANSPARENT_BELOW_MINIMUM;
      takeOff(without, effect);
      nv.addVolume(without);
      nv.addVolume(effect);
      if (place !== this.place) nv.scene.crosshairPos = nv.vox2frac(peak(effect));
    }
    this.place = place;
    this.card.querySelector(".why").textContent = shown.why;
    this.card.querySelector(".name").textContent = shown.name;
    this.card.querySelector(".score").textContent = map ? shown.scores[method.name] ?? "" : "no map";
  }

  draw({ method, blend, threshold, opacity }) {
    const { nv } = this, [, without, effect] = nv.volumes;
    if (effect) {
      without.opacity = blend;
      effect.opacity = opacity;
      effect.cal_min = Math.min(Math.max(threshold, 0.004), 0.996) * method.limit; // zero itself stays clear
      effect.cal_max = method.limit;
    }
    nv.updateGLVolume();
    nv.createOnLocationChange();
  }

  tell(place) {
    const [x, y, z] = [...place.mm].map((value) => value.toFixed(0));
    const [image, , effect] = place.values.map((entry) => entry.value);
    const words = `x ${x}, y ${y}, z ${z} mm: image ${image.toFixed(2)}`;
    const told = effect === undefined ? words : `${words}, effect ${effect.toPrecision(2)}`;
    this.card.querySelector("output").textContent = told.replaceAll("-", "−");
  }
}

function ramp([red, green, blue]) {
  return { R: [red, red], G: [green, green], B: [blue, blue], A: [0, 255], I: [0, 255] };
}

// In place: the image becomes the image less the effect.
function takeOff(image, effect) {
  const factor = effect.hdr.scl_slope / image.hdr.scl_slope;
  for (let at = 0; at < image.img.length; at++) {
    image.img[at] = Math.min(Math.max(image.img[at] - factor * effect.img[at], 0), 255);
  }
}

function peak({ img, hdr }) {
  const [, across, deep] = hdr.dims;
  let best = 0;
  for (let at = 1; at < img.length; at++) if (Math.abs(img[at]) > Math.abs(img[best])) best = at;
  return [best % across, Math.floor(best / across) % deep, Math.floor(best / (across * deep))];
}
