"use strict";

async function inflate(text, Numbers) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Numbers(await new Response(stream).arrayBuffer());
}

// An image and, if there is one, its map, both one byte per pixel or voxel.
async function loadMap(entry, method, place) {
  const map = method.maps[place];
  entry.image ??= await inflate(entry.shown.image, Uint8Array);
  if (map && !entry.maps.has(method)) entry.maps.set(method, await inflate(map.data, Int8Array));
  return { image: entry.image, map: entry.maps.get(method), scale: map ? map.scale : 0 };
}

// Draw one slice: grey, faded by `blend` into the image without the effect; over it the effect, as opaque as it is strong.
// `voxel(column, row)` is the index of a pixel in the arrays; `black` and `white` are intensities in [-1, 1].
function paint(canvas, voxel, { image, map, scale }, hues, { method, blend, threshold, opacity, black, white }) {
  const { width, height } = canvas, context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  const low = 127.5 * (black + 1), gain = 2 / Math.max(white - black, 0.01);
  for (let row = 0, to = 0; row < height; row++) {
    for (let column = 0; column < width; column++, to += 4) {
      const at = voxel(column, row), effect = map ? map[at] * scale : 0, strength = effect / method.limit;
      const without = Math.min(Math.max(image[at] - 127.5 * effect, 0), 255);
      const grey = Math.min(Math.max(gain * (image[at] + blend * (without - image[at]) - low), 0), 255);
      const size = Math.min(Math.abs(strength), 1), over = size < threshold ? 0 : opacity * size;
      const hue = hues[strength > 0 ? 0 : 1];
      for (let channel = 0; channel < 3; channel++) pixels.data[to + channel] = grey * (1 - over) + hue[channel] * over;
      pixels.data[to + 3] = 255;
    }
  }
  context.putImageData(pixels, 0, 0);
}

function describe(card, shown, method, hasMap) {
  card.querySelector(".why").textContent = shown.why;
  card.querySelector(".name").textContent = shown.name;
  card.querySelector(".score").textContent = hasMap ? shown.scores[method.name] ?? "" : "no map";
}

// 2-D images, all at once. Left: the image, faded into the image without the effect; right: the effect over the image.
class Pictures {
  constructor(stage, template, data) {
    this.hues = data.hues;
    this.entries = data.cases.map((shown) => {
      const card = template.content.firstElementChild.cloneNode(true);
      const canvases = [...card.querySelectorAll("canvas")];
      for (const canvas of canvases) [canvas.height, canvas.width] = shown.shape;
      stage.append(card);
      return { card, shown, canvases, maps: new Map() };
    });
  }

  async show(method) {
    for (const [place, entry] of this.entries.entries()) {
      entry.values = await loadMap(entry, method, place);
      describe(entry.card, entry.shown, method, entry.values.map);
    }
  }

  draw(settings) {
    for (const { canvases: [left, right], values } of this.entries) {
      const voxel = (column, row) => row * left.width + column;
      paint(left, voxel, values, this.hues, { ...settings, opacity: 0 });
      paint(right, voxel, values, this.hues, { ...settings, blend: 0 });
    }
  }
}
