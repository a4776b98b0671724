"use strict";
// A player with data-start and data-end plays that span; one plays at a time.
document.addEventListener("play", (event) => {
  const player = event.target, start = Number(player.dataset.start || 0);
  const end = Number(player.dataset.end || Infinity);
  if (player.currentTime < start || player.currentTime >= end - 0.05) player.currentTime = start;
  for (const other of document.querySelectorAll("video, audio")) if (other !== player) other.pause();
}, true);
document.addEventListener("timeupdate", (event) => {
  const player = event.target, end = Number(player.dataset.end || Infinity);
  if (!player.paused && player.currentTime >= end) {
    player.pause();
    player.currentTime = Number(player.dataset.start || 0);
  }
}, true);
