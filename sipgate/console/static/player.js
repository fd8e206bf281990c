// The player of one recording: film and both voices are one element, so they cannot drift apart.
"use strict";

(() => {
  const player = document.getElementById("player");
  const media = document.getElementById("media");
  const byId = (id) => document.getElementById(id);
  const words = player.dataset;
  const PLAY = "M8 5v14l11-7z";
  const PAUSE = "M7 5h4v14H7zM13 5h4v14h-4z";

  // Our own controls: the browser's menu would offer still images of the film.
  media.controls = false;
  media.addEventListener("contextmenu", (event) => event.preventDefault());
  byId("controls").hidden = false;

  const clock = (seconds) => {
    const whole = Math.floor(seconds || 0);
    const minutes = Math.floor(whole / 60) % 60;
    const hours = Math.floor(whole / 3600);
    const tail = String(whole % 60).padStart(2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
  };

  const seek = byId("seek");
  let dragging = false;

  const showPosition = () => {
    const at = dragging ? Number(seek.value) : media.currentTime;
    byId("position").textContent = clock(at);
    seek.setAttribute("aria-valuetext", `${clock(at)} ${words.of} ${clock(media.duration)}`);
    if (!dragging) seek.value = String(at);
  };

  const showDuration = () => {
    if (!Number.isFinite(media.duration)) return;
    seek.max = String(media.duration);
    byId("duration").textContent = clock(media.duration);
    showPosition();
  };

  const showState = () => {
    byId("toggle-shape").setAttribute("d", media.paused ? PLAY : PAUSE);
    byId("toggle").setAttribute("aria-label", media.paused ? words.play : words.pause);
  };

  const frame = () => {
    showPosition();
    if (!media.paused) requestAnimationFrame(frame);
  };

  const play = () => media.play().catch(() => showState());
  const toggle = () => (media.paused ? play() : media.pause());
  const jump = (seconds) => {
    const end = Number.isFinite(media.duration) ? media.duration : 0;
    media.currentTime = Math.min(Math.max(media.currentTime + seconds, 0), end);
  };

  media.addEventListener("loadedmetadata", showDuration);
  media.addEventListener("durationchange", showDuration);
  media.addEventListener("timeupdate", showPosition);
  media.addEventListener("seeked", showPosition);
  media.addEventListener("pause", showState);
  media.addEventListener("play", () => { showState(); requestAnimationFrame(frame); });
  byId("toggle").addEventListener("click", toggle);
  byId("back").addEventListener("click", () => jump(-5));
  byId("forward").addEventListener("click", () => jump(5));
  seek.addEventListener("input", () => { dragging = true; media.currentTime = Number(seek.value); showPosition(); });
  seek.addEventListener("change", () => { dragging = false; showPosition(); });

  const speed = byId("speed");
  media.preservesPitch = true;
  const setSpeed = () => { media.playbackRate = Number(speed.value); };
  speed.addEventListener("change", setSpeed);
  const stepSpeed = (step) => {
    speed.selectedIndex = Math.min(Math.max(speed.selectedIndex + step, 0), speed.options.length - 1);
    setSpeed();
  };

  // Left is the caller, right the callee: hearing one alone puts that side on both ears.
  let gains = null;
  const wire = () => {
    const context = new AudioContext();
    const splitter = context.createChannelSplitter(2);
    const merger = context.createChannelMerger(2);
    context.createMediaElementSource(media).connect(splitter);
    gains = [0, 1].map((from) => [0, 1].map((to) => {
      const gain = context.createGain();
      splitter.connect(gain, from);
      gain.connect(merger, 0, to);
      return gain;
    }));
    merger.connect(context.destination);
    void context.resume();
  };
  const ears = document.querySelectorAll("input[name=ears]");
  const hear = (who) => {
    if (!gains && who === "both") return;
    if (!gains) wire();
    const open = { both: [[1, 0], [0, 1]], caller: [[1, 1], [0, 0]], callee: [[0, 0], [1, 1]] }[who];
    gains.forEach((row, from) => row.forEach((gain, to) => { gain.gain.value = open[from][to]; }));
  };
  ears.forEach((choice) => choice.addEventListener("change", () => hear(choice.value)));
  const chooseEar = (index) => { ears[index].checked = true; hear(ears[index].value); };

  const keys = {
    " ": toggle, k: toggle, arrowleft: () => jump(-5), arrowright: () => jump(5), j: () => jump(-10), l: () => jump(10),
    home: () => { media.currentTime = 0; }, end: () => jump(Infinity),
    1: () => chooseEar(0), 2: () => chooseEar(1), 3: () => chooseEar(2), "<": () => stepSpeed(-1), ">": () => stepSpeed(1),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const at = event.target;
    if (at.matches("textarea, select, input:not([type=range])")) return;
    if (event.key === " " && at.matches("button, summary, a")) return;
    const act = keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // Why it does not play: the answer's status says it, in words.
  const tell = async () => {
    let text = words.broken;
    try {
      const answer = await fetch(media.currentSrc || media.src, { headers: { Range: "bytes=0-0" }, cache: "no-store" });
      text = { 401: words.signedOut, 403: words.ended, 404: words.ended, 410: words.gone }[answer.status] || words.broken;
    } catch { /* no network: the general words stand */ }
    const trouble = byId("trouble");
    trouble.textContent = text;
    trouble.hidden = false;
    byId("controls").hidden = true;
  };
  media.addEventListener("error", tell);
  if (media.error) void tell();
  if (media.readyState >= 1) showDuration();
})();
