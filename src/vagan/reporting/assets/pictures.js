"use strict";

async function inflated(text, Numbers) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Numbers(await new Response(stream).arrayBuffer());
}

// 2-D images, all at once: on the left the image, faded into the image without the effect; on the right the effect.
class Pictures {
  constructor(stage, template, data) {
    this.data = data;
    this.cards = data.cases.map((shown) => {
      const card = template.content.firstElementChild.cloneNode(true);
      for (const canvas of card.querySelectorAll("canvas")) [canvas.height, canvas.width] = shown.shape;
      card.querySelector(".why").textContent = shown.why;
      card.querySelector(".name").textContent = shown.name;
      stage.append(card);
      return { card, shown, maps: new Map() };
    });
  }

  async show(method) {
    for (const [place, entry] of this.cards.entries()) {
      entry.image ??= await inflated(entry.shown.image, Uint8Array);
      const map = method.maps[place];
      if (map && !entry.maps.has(method)) entry.maps.set(method, await inflated(map.data, Int8Array));
      entry.card.querySelector(".score").textContent = map ? entry.shown.scores[method.name] ?? "" : "no map";
    }
  }

  draw({ method, blend, threshold, opacity }) {
    for (const [place, { card, shown, image, maps }] of this.cards.entries()) {
      const [left, right] = [...card.querySelectorAll("canvas")].map((canvas) => canvas.getContext("2d"));
      const [height, width] = shown.shape, map = maps.get(method), scale = map ? method.maps[place].scale : 0;
      const plain = left.createImageData(width, height), coloured = right.createImageData(width, height);
      for (let at = 0; at < image.length; at++) {
        const x = image[at], effect = map ? map[at] * scale : 0, strength = effect / method.limit;
        const y = Math.min(Math.max(x - 127.5 * effect, 0), 255);
        const size = Math.min(Math.abs(strength), 1), over = size < threshold ? 0 : opacity * size;
        const hue = this.data.hues[strength > 0 ? 0 : 1];
        for (let channel = 0; channel < 3; channel++) {
          plain.data[4 * at + channel] = x + blend * (y - x);
          coloured.data[4 * at + channel] = x * (1 - over) + hue[channel] * over;
        }
        plain.data[4 * at + 3] = coloured.data[4 * at + 3] = 255;
      }
      left.putImageData(plain, 0, 0);
      right.putImageData(coloured, 0, 0);
    }
  }
}
