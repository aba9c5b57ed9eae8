"use strict";
(function () {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const get = (name) => viewer.querySelector("[data-" + name + "]");
  const scenes = Array.from(document.querySelectorAll("[data-frames]"), (strip) => ({
    name: strip.dataset.name,
    left: Number(strip.dataset.left),
    frames: Array.from(strip.querySelectorAll("img"), (img) => ({
      src: img.src, label: img.dataset.label, about: img.dataset.about,
      width: Number(img.getAttribute("width")),
    })),
  }));
  const scene = get("scene"), left = get("left"), level = get("level"), wipe = get("wipe");
  const zoom = get("zoom"), beside = get("beside"), stages = get("stages");
  const [first, second] = viewer.querySelectorAll(".stage");
  const canvases = viewer.querySelectorAll(".canvas");

  function fill(image, of, frame) {
    image.src = frame.src;
    image.alt = of.name + ", " + frame.label;
  }
  function name(place, frame) {
    place.firstElementChild.textContent = frame.label;
    place.lastElementChild.textContent = frame.about;
  }
  // The wipe goes over what is in view, however much it is enlarged.
  function inView() {
    return Math.min(first.clientWidth, canvases[0].clientWidth);
  }
  function seam() {
    const at = first.scrollLeft + (inView() * Number(wipe.value)) / 100;
    stages.style.setProperty("--wipe", (100 * at) / canvases[0].clientWidth + "%");
  }
  function draw() {
    const of = scenes[scene.selectedIndex];
    const a = of.frames[left.selectedIndex], b = of.frames[Number(level.value)];
    fill(get("under"), of, a);
    fill(get("over"), of, b);
    fill(get("other"), of, b);
    name(get("name-left"), a);
    name(get("name-right"), b);
    get("level-said").textContent = b.label;
    level.setAttribute("aria-valuetext", b.label);
    get("wipe-said").textContent = wipe.value + " %";
    const two = beside.checked;
    stages.className = "stages " + (two ? "two" : "one");
    viewer.className = "viewer " + (two ? "two" : "one");
    second.hidden = !two;
    wipe.disabled = two;
    // Sizes follow HR, so that smaller LR are seen at the same places.
    stages.classList.toggle("zoomed", zoom.value !== "fit");
    const width = Math.max(...of.frames.map((frame) => frame.width));
    for (const canvas of canvases) {
      canvas.style.width = zoom.value === "fit" ? "100%" : width * Number(zoom.value) + "px";
    }
    if (two) second.scrollTo(first.scrollLeft, first.scrollTop);
    seam();
  }
  function choose() {
    const of = scenes[scene.selectedIndex], last = of.frames.length - 1;
    left.replaceChildren(...of.frames.map((frame) => new Option(frame.label)));
    left.selectedIndex = of.left;
    level.max = String(last);
    level.value = String(of.left === last ? 0 : last);
    draw();
  }
  function drag(event) {
    if (beside.checked || event.buttons !== 1) return;
    const box = canvases[0].getBoundingClientRect();
    const from = Math.max(box.left, first.getBoundingClientRect().left);
    wipe.value = String(Math.round((100 * (event.clientX - from)) / inView()));
    draw();
  }
  let moving = false;
  function follow(from, to) {
    from.addEventListener("scroll", () => {
      if (moving) { moving = false; return; }
      moving = to.scrollLeft !== from.scrollLeft || to.scrollTop !== from.scrollTop;
      to.scrollTo(from.scrollLeft, from.scrollTop);
    });
  }
  follow(first, second);
  follow(second, first);
  scene.append(...scenes.map((of) => new Option(of.name)));
  scene.addEventListener("change", choose);
  for (const control of [left, level, wipe, zoom, beside]) control.addEventListener("input", draw);
  // What is enlarged is shown about its middle.
  zoom.addEventListener("input", () => {
    first.scrollTo(
      (first.scrollWidth - first.clientWidth) / 2, (first.scrollHeight - first.clientHeight) / 2,
    );
  });
  first.addEventListener("scroll", seam);
  canvases[0].addEventListener("pointerdown", drag);
  canvases[0].addEventListener("pointermove", drag);
  canvases[0].addEventListener("dragstart", (event) => event.preventDefault());
  viewer.hidden = false;
  choose();
})();
