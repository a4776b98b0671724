"use strict";
// Hands on what the microphone hears, mono, as it comes.
class Recorder extends AudioWorkletProcessor {
  process(inputs) {
    const channels = inputs[0];
    if (channels.length) {
      const mono = new Float32Array(channels[0]);
      for (const other of channels.slice(1)) {
        for (let i = 0; i < mono.length; i++) mono[i] += other[i];
      }
      for (let i = 0; i < mono.length; i++) mono[i] /= channels.length;
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
}
registerProcessor("recorder", Recorder);
