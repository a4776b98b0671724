"use strict";
// The heat map of a step over its image; the step is the slider's, or where the sound is.
const maps = JSON.parse(document.getElementById("matchmaps").textContent);
for (const section of document.querySelectorAll(".matchmap")) {
  const { height, width, start_s, step_s, heat } = maps[Number(section.dataset.number)];
  const canvas = section.querySelector("canvas"), slider = section.querySelector("input");
  const line = section.querySelector(".curve line"), output = section.querySelector("output");
  const player = section.querySelector("audio");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const draw = () => {
    const step = Number(slider.value), picture = context.createImageData(width, height);
    heat[step].forEach((value, place) => {
      picture.data.set([255, 112, 0, value * 0.75], 4 * place);
    });
    context.putImageData(picture, 0, 0);
    const x = 600 * (step + 0.5) / heat.length;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    output.textContent = `${(start_s + step * step_s).toFixed(2)} s`;
  };
  slider.addEventListener("input", () => {
    if (player) player.currentTime = Number(slider.value) * step_s;
    draw();
  });
  if (player) {
    const follow = () => {
      const step = Math.min(heat.length - 1, Math.floor(player.currentTime / step_s));
      if (step !== Number(slider.value)) {
        slider.value = step;
        draw();
      }
      if (!player.paused) requestAnimationFrame(follow);
    };
    player.addEventListener("play", follow);
  }
  draw();
}
