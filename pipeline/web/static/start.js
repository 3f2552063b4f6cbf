// The start page without reloading: fresh figures every few seconds, files sent with their progress.
// Everything works without this file; it never writes markup, only text.
"use strict";

const REFRESH_MS = 5000;
const form = document.getElementById("submit");
const sent = document.getElementById("sent");

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    const live = document.getElementById("live");
    if (fresh && !live.contains(document.activeElement) && getSelection().isCollapsed) live.replaceWith(fresh);
  } catch {
    // The server is away; the next turn tries again.
  }
}

function send(file) {
  const line = document.createElement("li");
  const name = document.createElement("span");
  const bar = document.createElement("progress");
  const state = document.createElement("span");
  name.textContent = file.name;
  bar.max = 1;
  bar.value = 0;
  line.append(name, bar, state);
  sent.prepend(line);
  const query = new URLSearchParams({ source: form.elements.source.value, filename: file.name });
  const request = new XMLHttpRequest();
  request.open("POST", "/api/objects?" + query);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = (event) => { bar.value = event.loaded / Math.max(1, event.total); };
  request.onerror = () => { bar.remove(); state.textContent = " – the connection was lost"; };
  request.onload = () => { bar.remove(); finished(request, state); };
  request.send(file);
}

function finished(request, state) {
  let answer = {};
  try { answer = JSON.parse(request.responseText); } catch { /* shown as failed below */ }
  if (request.status !== 201) {
    state.textContent = " – " + (answer.why || request.statusText || "failed");
    return;
  }
  const link = document.createElement("a");
  link.href = "/objects/" + answer.sha256;
  link.className = "hash";
  link.textContent = answer.sha256;
  state.append(" – stored: ", link);
  setTimeout(refresh, 1000);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  for (const file of form.elements.file.files) send(file);
  form.elements.file.value = "";
});
form.elements.file.multiple = true;

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  for (const file of event.dataTransfer.files) send(file);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  event.preventDefault();
  document.getElementById("q").focus();
});

setInterval(refresh, REFRESH_MS);
