"use strict";
// Charts of the last two minutes, drawn anew once a second.

const NAMESPACE = "http://www.w3.org/2000/svg";
const SPAN = 120;

function svg(name, attributes, text) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  return element;
}

// A whole number with narrow spaces between the thousands.
function whole(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

// A time in milliseconds, to two digits, with its unit.
function time(ms) {
  if (!ms) return "–";
  if (ms >= 995) return (ms / 1000).toFixed(ms < 9950 ? 1 : 0) + " s";
  return (ms < 0.995 ? ms.toFixed(2) : ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0)) + " ms";
}

class Chart {
  // `describe(second)` returns the lines of the tool tip.
  constructor(place, describe) {
    this.place = place;
    this.svg = svg("svg", {});
    this.tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
    place.append(this.svg, this.tip);
    place.addEventListener("pointermove", event => { this.pointer = event.offsetX; this.point(describe); });
    place.addEventListener("pointerleave", () => { this.pointer = undefined; this.point(describe); });
    this.describe = describe;
    this.left = 46;
    this.right = 22;
  }

  // Clears the chart and draws its axes. `ticks`: pairs of a value and a text; `y` maps a value to 0 (bottom) to 1 (top).
  begin(seconds, marks, ticks, y) {
    this.width = this.place.clientWidth;
    this.height = this.place.clientHeight;
    this.seconds = seconds;
    const last = seconds.length ? seconds[seconds.length - 1].number : 0;
    this.x = number => this.left + (this.width - this.left - this.right) * (1 - (last - number) / (SPAN - 1));
    this.y = value => this.height - 20 - (this.height - 45) * Math.max(0, Math.min(1, y(value)));
    const parts = [];
    for (const [value, text] of ticks) {
      const at = this.y(value);
      parts.push(svg("line", { class: "grid", x1: this.left, x2: this.width - this.right, y1: at, y2: at }));
      parts.push(svg("text", { x: this.left - 6, y: at + 4, "text-anchor": "end" }, text));
    }
    for (const [ago, text, anchor] of [[119, "2 min ago", "start"], [60, "1 min", "middle"], [0, "now", "end"]])
      parts.push(svg("text", { x: this.x(last - ago), y: this.height - 4, "text-anchor": anchor }, text));
    this.svg.replaceChildren(...parts);
    this.marks = marks;
  }

  area(lower, upper, color) {
    if (this.seconds.length < 2) return;
    const points = (values, back) => {
      const all = values.map((value, index) => `${this.x(this.seconds[index].number).toFixed(1)} ${this.y(value).toFixed(1)}`);
      return (back ? all.reverse() : all).join("L");
    };
    this.svg.append(svg("path", { d: `M${points(upper)}L${points(lower, true)}Z`, fill: color, stroke: "var(--card)", "stroke-width": 1 }));
  }

  // A line with gaps where there is no value.
  line(values, color, name) {
    let path = "", pen = "M", end;
    values.forEach((value, index) => {
      if (!value) { pen = "M"; return; }
      end = [this.x(this.seconds[index].number), this.y(value)];
      path += pen + end[0].toFixed(1) + " " + end[1].toFixed(1);
      pen = "L";
    });
    this.svg.append(svg("path", { d: path || "M0 0", fill: "none", stroke: color, "stroke-width": 2, "stroke-linejoin": "round", "stroke-linecap": "round" }));
    return end && { name, color, y: end[1] };
  }

  // Writes names at the right edge, apart from each other.
  names(names) {
    let before = -Infinity;
    for (const { name, color, y } of names.filter(Boolean).sort((a, b) => a.y - b.y)) {
      const at = Math.max(y, before + 13);
      before = at;
      this.svg.append(svg("circle", { cx: this.width - this.right + 7, cy: at, r: 3.5, fill: color }));
      this.svg.append(svg("text", { class: "name", x: this.width - this.right + 13, y: at + 4 }, name));
    }
  }

  // Draws the marks of events above everything.
  end() {
    const first = this.seconds.length ? this.seconds[0].number : 0;
    const free = [Infinity, Infinity];
    // The newest first: there is room for two lines of texts.
    for (const { number, text } of [...this.marks].reverse()) {
      if (number < first) continue;
      const at = this.x(number), half = text.length * 3.1;
      this.svg.append(svg("line", { class: "mark", x1: at, x2: at, y1: 23, y2: this.height - 20 }));
      const middle = Math.min(at, this.width - this.right - half), line = free.findIndex(left => middle + half < left);
      if (line < 0) continue;
      free[line] = middle - half - 6;
      this.svg.append(svg("text", { x: middle, y: 20 - 11 * line, "text-anchor": "middle" }, text));
    }
    this.cross = svg("line", { class: "cross", y1: 23, y2: this.height - 20, visibility: "hidden" });
    this.svg.append(this.cross);
    this.point(this.describe);
  }

  point(describe) {
    const known = this.pointer !== undefined && this.seconds && this.seconds.length;
    this.tip.hidden = !known;
    if (!this.cross) return;
    this.cross.setAttribute("visibility", known ? "visible" : "hidden");
    if (!known) return;
    const distance = second => Math.abs(this.x(second.number) - this.pointer);
    const second = this.seconds.reduce((best, other) => distance(other) < distance(best) ? other : best);
    const at = this.x(second.number), last = this.seconds[this.seconds.length - 1].number;
    this.cross.setAttribute("x1", at);
    this.cross.setAttribute("x2", at);
    this.tip.textContent = `${last - second.number} s ago\n` + describe(second).join("\n");
    this.tip.style.left = at > this.width / 2 ? "" : at + 10 + "px";
    this.tip.style.right = at > this.width / 2 ? this.width - at + 10 + "px" : "";
  }
}

// The next round number for the top of an axis.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 10)));
  return [1, 2, 3, 4, 5, 6, 8, 10].map(step => step * power).find(step => step >= value);
}
