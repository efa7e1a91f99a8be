"use strict";
document.documentElement.classList.add("js");
for (const city of document.querySelectorAll(".city")) {
  const frame = city.querySelector(".frame");
  const slider = city.querySelector(".opacity");
  slider.addEventListener("input", () => city.style.setProperty("--overlay", slider.value / 100));
  // keep the middle of the map in the middle when its size changes
  let zoom = 1;
  for (const button of city.querySelectorAll(".zoom input")) {
    button.addEventListener("change", () => {
      const next = Number(button.className.slice(2));
      const middle = ["Left", "Top"].map((side, i) => {
        const seen = i ? frame.clientHeight : frame.clientWidth;
        return [side, (frame["scroll" + side] + seen / 2) * (next / zoom) - seen / 2];
      });
      zoom = next;
      for (const [side, place] of middle) frame["scroll" + side] = place;
    });
  }
  // drag with the mouse; fingers scroll by themselves
  let held = null;
  frame.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0 && zoom > 1) {
      held = [event.clientX + frame.scrollLeft, event.clientY + frame.scrollTop];
      frame.setPointerCapture(event.pointerId);
      event.preventDefault();
    }
  });
  frame.addEventListener("pointermove", (event) => {
    if (held) frame.scrollTo(held[0] - event.clientX, held[1] - event.clientY);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    frame.addEventListener(end, () => { held = null; });
  }
}
