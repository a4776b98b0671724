"use strict";
const $ = (id) => document.getElementById(id);
const record = $("record"), status = $("status"), results = $("results");
let about = { indexes: [], max_bytes: 0, max_seconds: 60 };
let last = null;      // what was searched by: {file} or {window, index, name}
let searches = 0;     // only the answer of the latest is shown
let clip = "";        // the address of what was searched by, to be let go

function make(kind, properties = {}, ...children) {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
}

function tell(text, kind = "") {
  status.className = kind;
  status.textContent = text;
}

function time(seconds) {
  const tenths = Math.round(seconds * 10), whole = Math.floor(tenths / 10);
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${String(whole % 60).padStart(2, "0")}.${tenths % 10}`;
}

function wave(peaks, label) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "wave");
  svg.setAttribute("viewBox", `0 -1 ${peaks.length} 2`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  const path = document.createElementNS(space, "path");
  const bar = (peak, i) => `M${i + .5} ${-Math.max(peak, .03)}V${Math.max(peak, .03)}`;
  path.setAttribute("d", peaks.map(bar).join(""));
  svg.append(path);
  return svg;
}

// --- what is asked -----------------------------------------------------------------

async function search(wanted) {
  last = wanted;
  const number = ++searches;
  await opened;
  if (number !== searches || !about.indexes.length) return;
  const query = new URLSearchParams({ index: $("index").value, output: $("output").value });
  if (!$("language-label").hidden) query.set("language", $("language").value);
  if (wanted.file) {
    if (wanted.file.size > about.max_bytes) {
      fail(`${wanted.name}: larger than the ${Math.round(about.max_bytes / 1e6)} MB that a file may have.`);
      return;
    }
    const ofVideo = wanted.file.type.startsWith("image/") ? "auto" : $("by").value;
    query.set("by", wanted.by || ofVideo);
  } else {
    query.set("window", wanted.window);
  }
  tell("Searching …");
  results.setAttribute("aria-busy", "true");
  try {
    const answer = await ask(`search?${query}`, wanted, number);
    if (number === searches && answer) show(answer, wanted);
  } catch (error) {
    if (number === searches) fail(error.message);
  } finally {
    if (number === searches) results.removeAttribute("aria-busy");
  }
}

async function ask(address, wanted, number) {
  const body = wanted.file || null;
  for (let tries = 0; ; tries++) {
    let response;
    try {
      response = await fetch(address, { method: "POST", body });
    } catch {
      throw new Error("The server does not answer. Is it still running?");
    }
    if (response.status === 503 && tries < 5 && number === searches) {
      tell("The server is busy; waiting for a turn …");
      const seconds = Number(response.headers.get("Retry-After")) || 2;
      await new Promise((done) => setTimeout(done, 1000 * seconds));
      if (number !== searches) return null;
      continue;
    }
    const answer = await response.json().catch(() => ({ error: response.statusText }));
    if (!response.ok) {
      const why = answer.error || `HTTP ${response.status}`;
      const named = body && response.status < 500;
      throw new Error(named ? `${wanted.name}: ${why.replace(/^the upload: /, "")}` : why);
    }
    return answer;
  }
}

function again() {
  if (!last) return;
  if (last.file) search(last);
  else if (last.index === $("index").value) search(last);
  else {
    clear();
    tell("Speak, or choose a file, to search with this model.");
  }
}

// What was found before answers nothing any more.
function clear() {
  results.replaceChildren();
  $("query").replaceChildren();
  $("calibrated").textContent = "";
  for (const id of ["query", "results-title"]) $(id).hidden = true;
}

function fail(text) {
  clear();
  tell(text, "error");
}

// --- what was found ----------------------------------------------------------------

function show(answer, wanted) {
  const hits = answer.hits;
  showQuery(answer, wanted);
  const best = Math.max(...hits.map((hit) => hit.score), 0);
  results.replaceChildren(...hits.map((hit) => card(hit, answer, best)));
  $("results-title").hidden = !hits.length;
  if (!hits.length) {
    tell("The index holds nothing to compare with.", "warn");
  } else if (answer.match === false) {
    tell(`Nothing fits. ${answer.calibrated} These are the nearest:`, "warn");
  } else {
    const first = hits[0], clips = `${hits.length} clip${hits.length === 1 ? "" : "s"}`;
    const fit = hits.filter((hit) => hit.match).length;
    const found = answer.match ? `${fit} of ${clips} fit${fit === 1 ? "s" : ""}` : clips;
    const best = `The best: ${first.name}, ${time(first.start_s)} to ${time(first.end_s)}.`;
    const sure = answer.match ? "" : ` No one knows whether anything fits: ${answer.calibrated}`;
    tell(`${found}. ${best}${sure}`);
  }
}

function percent(share) {
  return `${Math.round(share * 100)} %`;
}

function showQuery(answer, wanted) {
  const box = $("query");
  box.replaceChildren();
  box.hidden = false;
  $("calibrated").textContent = answer.match ? answer.calibrated : "";
  if (clip) URL.revokeObjectURL(clip);
  clip = "";
  if (!wanted.file) {
    box.append(make("span", { textContent: `More like ${wanted.name}` }));
    return;
  }
  clip = URL.createObjectURL(wanted.file);
  const seconds = answer.seconds ? `, ${answer.seconds.toFixed(1)} s` : "";
  const heard = answer.heard_s ? `; the first ${Number(answer.heard_s.toFixed(1))} s were heard` : "";
  box.append(make("span", { textContent: `You searched by: ${wanted.name}${seconds}${heard}` }));
  if (answer.peaks.length) box.append(wave(answer.peaks, "Waveform of what you searched by"));
  if (answer.by === "image") box.append(make("img", { src: clip, alt: "The picture you searched by" }));
  else box.append(make(answer.by, { src: clip, controls: true, preload: "metadata" }));
}

function card(hit, answer, best) {
  const name = hit.name, span = `${time(hit.start_s)} – ${time(hit.end_s)}`;
  const title = make("h3", {}, make("span", { className: "rank", textContent: `${hit.rank}. ` }), name);
  const text = make("div", { className: "text" }, title);
  const element = make("li", { className: "card" }, screen(hit, answer, name, span), text);
  if (hit.rank === 1 && hit.match !== false) element.classList.add("best");
  element.dataset.window = hit.window_id;
  const fits = hit.match === false ? "does not fit" : "";
  text.append(make("div", { className: "row" },
    make("span", { className: "span", textContent: span }), make("span", { textContent: fits })));
  if (hit.label) text.append(make("p", { className: "soft", textContent: hit.label }));
  const peaks = make("div", { className: "peaks" });
  text.append(peaks);
  const meter = make("meter", { min: 0, max: 1, value: best > 0 ? Math.max(0, hit.score / best) : 0 });
  meter.setAttribute("aria-label", `Score of ${name}, of the best score`);
  const sure = hit.precision === null || hit.precision === undefined
    ? "" : `right in ${percent(hit.precision)} of such cases`;
  text.append(meter, make("div", { className: "row" },
    make("span", { textContent: `score ${hit.score.toFixed(2)}` }), make("span", { textContent: sure })));
  const more = make("button", { type: "button", className: "more", textContent: "More like this" });
  more.setAttribute("aria-label", `More like ${name}, ${span}`);
  more.addEventListener("click", () => {
    search({ window: hit.window_id, index: answer.index, name: `${name}, ${span}` });
    $("results-title").focus();
  });
  text.append(more);
  if (!hit.missing) seen.observe(element);
  element.preview = async () => {
    const address = `preview/${encodeURIComponent(answer.index)}/${hit.media_id}`;
    const part = `?start=${hit.start_s.toFixed(1)}&end=${hit.end_s.toFixed(1)}`;
    const player = element.querySelector("video, audio");
    if (player) {
      if (player.tagName === "VIDEO") player.poster = `${address}.jpg${part}`;
      player.src = player.dataset.src;
    }
    const response = await fetch(`${address}.json${part}`).catch(() => null);
    if (!response || !response.ok) return;
    const found = await response.json();
    if (found.peaks.length) peaks.append(wave(found.peaks, `Waveform of ${name}, ${span}`));
  };
  return element;
}

// Players, key frames and waveforms are for cards that come into sight.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      entry.target.preview();
    }
  }
}, { rootMargin: "200px" });

function screen(hit, answer, name, span) {
  if (hit.missing) return gone(`It cannot be played: ${hit.missing}`);
  const address = `media/${encodeURIComponent(answer.index)}/${hit.media_id}`;
  if (hit.kind.startsWith("image/")) {
    return make("img", { className: "screen", src: address, alt: name, loading: "lazy" });
  }
  const kind = hit.kind.startsWith("audio/") ? "audio" : "video";
  const player = make(kind, { className: "screen", controls: true, preload: "metadata" });
  player.setAttribute("aria-label", `${name}, ${span}`);
  player.playsInline = true;
  player.dataset.src = `${address}#t=${hit.start_s},${hit.end_s}`;
  // Where a browser passes over the end of the fragment; once, so that one can play on.
  let stopped = false;
  player.addEventListener("timeupdate", () => {
    if (!stopped && !player.seeking && player.currentTime >= hit.end_s) {
      stopped = true;
      player.pause();
    }
  });
  player.addEventListener("play", () => {
    for (const other of document.querySelectorAll("video, audio")) {
      if (other !== player) other.pause();
    }
  });
  player.addEventListener("error", () => {
    player.replaceWith(gone(`Your browser cannot play this file (${hit.kind}).`));
  });
  return player;
}

function gone(text) {
  return make("div", { className: "screen gone", textContent: text });
}

// --- the microphone ----------------------------------------------------------------

let recording = null;

async function start() {
  if (recording) return;
  const mine = recording = { pieces: [], n: 0, stopped: false, ready: false };
  if (!navigator.mediaDevices) {
    recording = null;
    tell("Browsers lend a microphone only to https pages and to this machine's own.", "error");
    return;
  }
  record.setAttribute("aria-pressed", "true");
  $("record-label").textContent = "Wait …";
  try {
    mine.stream = await navigator.mediaDevices.getUserMedia({ audio:
      { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    mine.context = new AudioContext();
    await mine.context.audioWorklet.addModule("recorder.js");
    if (mine.stopped) return tooShort(mine);
    const node = new AudioWorkletNode(mine.context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => {
      mine.pieces.push(data);
      mine.n += data.length;
      if (mine.stopped) return;
      const seconds = mine.n / mine.context.sampleRate;
      $("record-label").textContent = `${seconds.toFixed(1)} s, let go`;
      if (seconds >= about.max_seconds - 1) stop();
    };
    mine.context.createMediaStreamSource(mine.stream).connect(node);
    mine.ready = true;
    tell("Recording …");
  } catch (error) {
    mine.stopped = true;
    end(mine);
    tell(`No microphone: ${error.message}`, "error");
  }
}

function stop() {
  const mine = recording;
  if (!mine || mine.stopped) return;
  mine.stopped = true;
  if (!mine.ready) return;   // start() waits for the microphone, and ends it
  const rate = mine.context.sampleRate;
  // What was said last is on its way.
  setTimeout(() => {
    if (mine.n < .2 * rate) return tooShort(mine);
    end(mine);
    const file = new Blob([wav(mine.pieces, mine.n, rate)], { type: "audio/wav" });
    search({ file, name: "your recording", by: "audio" });
  }, 150);
}

function tooShort(mine) {
  end(mine);
  tell("That was too short: hold the button while you speak.", "warn");
}

function end(mine) {
  for (const track of mine.stream ? mine.stream.getTracks() : []) track.stop();
  if (mine.context) mine.context.close();
  if (recording === mine) recording = null;
  record.setAttribute("aria-pressed", "false");
  $("record-label").textContent = "Hold to record";
}

function wav(pieces, n, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * n));
  const text = (at, letters) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * n, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * n, true);
  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
      at += 2;
    }
  }
  return view.buffer;
}

let held = false;     // by a pointer or a key
record.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  held = true;
  record.setPointerCapture(event.pointerId);
  start();
});
for (const kind of ["pointerup", "pointercancel"]) record.addEventListener(kind, stop);
record.addEventListener("keydown", (event) => {
  if (event.key !== " " && event.key !== "Enter") return;
  event.preventDefault();
  if (event.repeat) return;
  held = true;
  start();
});
record.addEventListener("keyup", (event) => {
  if (event.key !== " " && event.key !== "Enter") return;
  event.preventDefault();
  stop();
});
record.addEventListener("blur", stop);
record.addEventListener("contextmenu", (event) => event.preventDefault());
// Screen readers and voices click without holding: once to begin, once to end.
record.addEventListener("click", () => {
  if (!held) recording ? stop() : start();
  held = false;
});

// --- files -------------------------------------------------------------------------

function take(files) {
  if (files.length) search({ file: files[0], name: files[0].name });
}
$("file").addEventListener("change", (event) => take(event.target.files));
let inside = 0;
addEventListener("dragenter", (event) => { event.preventDefault(); inside++; document.body.classList.add("dropping"); });
addEventListener("dragleave", () => { if (!--inside) document.body.classList.remove("dropping"); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files);
});

// --- the models --------------------------------------------------------------------

function choose() {
  const index = about.indexes.find((one) => one.name === $("index").value);
  const language = $("language").value;
  $("language").replaceChildren(...index.branches.map((name) => new Option(name)));
  if (index.branches.includes(language)) $("language").value = language;
  $("language-label").hidden = !index.branches.length;
  const heard = index.languages.length ? `, hears ${index.languages.join(", ")}` : "";
  const windows = `${index.n_windows.toLocaleString()} window${index.n_windows === 1 ? "" : "s"}`;
  $("about").textContent = `${windows} of video in the index${heard}`;
}

async function open() {
  try {
    about = await (await fetch("about")).json();
  } catch {
    tell("The server does not answer. Is it still running?", "error");
    return;
  }
  $("index").replaceChildren(...about.indexes.map((one) => new Option(one.name)));
  $("index-label").hidden = about.indexes.length < 2;
  choose();
}
$("index").addEventListener("change", () => { choose(); again(); });
for (const id of ["language", "output", "by"]) $(id).addEventListener("change", again);
const opened = open();
