// Makes the console's pages nicer where scripts run; every page works without.
"use strict";

// Times in the reader's zone.
const zoned = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    if (!time.title) {
      time.title = time.textContent;
      time.textContent = zoned.format(new Date(time.dateTime));
    }
  }
}

// Keeps the first screen current. What a reader has opened or focused stays as it is.
function follow(board) {
  const events = new EventSource(board.dataset.events);
  const problem = document.getElementById("problem");
  events.addEventListener("board", (event) => {
    const news = JSON.parse(event.data);
    for (const form of document.querySelectorAll("form[data-when]")) {
      form.hidden = (form.dataset.when === "stopped") !== news.stopped;
    }
    problem.hidden = true;
    if (board.querySelector("details[open]") || board.contains(document.activeElement)) {
      return;
    }
    board.innerHTML = news.html;
    localise(board);
  });
  events.addEventListener("problem", (event) => {
    problem.textContent = JSON.parse(event.data);
    problem.hidden = false;
  });
  events.addEventListener("error", () => {
    problem.textContent = "The console cannot be reached; what is shown may be old.";
    problem.hidden = false;
  });
}

// A key for each judgement, unless the reader writes.
function judgeByKeys() {
  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest("input, textarea, select");
    if (writes || event.ctrlKey || event.metaKey || event.altKey || event.repeat) {
      return;
    }
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!target) {
      return;
    }
    event.preventDefault();
    if (target.matches("textarea")) {
      target.focus();
    } else {
      target.click();
    }
  });
}

// The slider over the table of limits.
function slide(slider) {
  const rows = [...document.querySelectorAll("#choices tbody tr")];
  const output = document.getElementById("limit-output");
  const field = document.getElementById("epsilon");
  const show = () => {
    const cells = [...rows[slider.value].children].map((cell) => cell.textContent.trim());
    output.textContent = `${cells[0]}: coverage ${cells[1]}, disagreement ${cells[2]}`;
    if (field) {
      field.value = rows[slider.value].dataset.epsilon;
    }
    rows.forEach((row, at) => row.classList.toggle("chosen", at === Number(slider.value)));
  };
  const chosen = rows.findIndex((row) => row.classList.contains("chosen"));
  slider.value = chosen < 0 ? rows.length - 1 : chosen;
  slider.parentElement.hidden = false;
  slider.addEventListener("input", show);
  show();
}

localise(document);
judgeByKeys();
const board = document.getElementById("board");
if (board) {
  follow(board);
}
const slider = document.getElementById("limit");
if (slider) {
  slide(slider);
}
