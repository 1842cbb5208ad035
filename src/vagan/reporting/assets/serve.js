"use strict";

// Upload dropped files one by one, wait for each result and show it.
const here = document.getElementById("serve"), at = (id) => document.getElementById(id);
const headers = { "X-Vagan-Token": here.dataset.token };
const WAIT_MS = 400;

async function ask(path, options = {}) {
  const answer = await fetch(path, { headers, ...options });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail);
  return content;
}

async function attribute(file) {
  at("problem").textContent = "";
  at("results").hidden = true;
  at("progress").hidden = false;
  at("progress").removeAttribute("value");
  try {
    if (file.size > Number(here.dataset.largest)) throw new Error(`${file.name} is too large for this server`);
    at("state").textContent = `sending ${file.name}`;
    const known = [...document.querySelectorAll("#covariates [name]")].map(({ name, value }) => `${name}=${value}`);
    const query = new URLSearchParams({ name: file.name, covariates: known.join(",") });
    let job = await ask(`/api/maps?${query}`, { method: "POST", body: file });
    while (job.state === "waiting" || job.state === "working") {
      report(job);
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
      job = await ask(`/api/maps/${job.id}`);
    }
    if (job.state === "failed") throw new Error(job.message);
    await show(job);
    at("state").textContent = `done in ${job.seconds.toFixed(1)} s`;
  } catch (error) {
    at("state").textContent = "";
    at("problem").textContent = error.message;
  } finally {
    at("progress").hidden = true;
  }
}

function report({ name, state, ahead, seconds, expected_seconds: expected }) {
  at("state").textContent =
    state === "waiting" ? `${name} is queued: ${ahead} before it` : `${name}: ${Math.round(seconds)} s so far`;
  if (state === "working" && expected) at("progress").value = Math.min(seconds / expected, 0.97);
}

async function show(job) {
  const view = await ask(`/api/maps/${job.id}/view`);
  at("name").textContent = job.name;
  at("note").textContent = view.note;
  at("results").hidden = false;
  const links = job.files.map((name) => {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = `/api/maps/${job.id}/files/${encodeURIComponent(name)}?token=${here.dataset.token}`;
    link.download = "";
    link.textContent = name;
    item.append(link);
    return item;
  });
  at("results").querySelector("ul").replaceChildren(...links);
  await startViewer(document.querySelector(".viewer"), view);
}

const drop = at("drop"), chooser = drop.querySelector("input");
let last = Promise.resolve();
const take = (files) => {
  for (const file of files) last = last.then(() => attribute(file));
};
chooser.onchange = () => {
  take([...chooser.files]);
  chooser.value = "";
};
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // a missed drop must not leave the page
drop.ondragover = () => drop.classList.add("over");
drop.ondragleave = () => drop.classList.remove("over");
drop.ondrop = (event) => {
  drop.classList.remove("over");
  take([...event.dataTransfer.files]);
};
