// Makes pages quicker that work without it: charts are drawn here, filters replace the page in place, panes open above.

const darkness = matchMedia("(prefers-color-scheme: dark)");
const NOT_KNOWN = "It is not known whether it was sent. Sent again, it may arrive twice.";
let views = [];

async function drawChart(element) {
  const theme = darkness.matches ? "dark" : "light";
  const response = await fetch(`${element.dataset.spec}&theme=${theme}&width=${Math.floor(element.clientWidth)}`);
  if (!response.ok) throw new Error(`the chart: ${response.status}`);
  const spec = await response.json();
  const result = await window.vegaEmbed(element, spec, {
    ast: true,
    actions: false,
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true, theme: "convometer" },
  });
  views.push(result);
  element.dataset.drawn = theme;
  element.dataset.width = element.clientWidth;
}

async function drawCharts() {
  views.forEach((view) => view.finalize());
  views = [];
  for (const element of document.querySelectorAll("[data-chart]")) {
    try {
      await drawChart(element);
    } catch (error) {
      // The server draws the same picture.
      const image = document.createElement("img");
      image.src = element.dataset.alternative;
      image.alt = "The chart; the table below has its figures";
      image.className = "chart";
      element.replaceChildren(image);
      element.dataset.drawn = "image";
      console.warn(error);
    }
  }
}

let loading = null;

async function show(url, push) {
  if (loading) loading.abort();
  const own = (loading = new AbortController());
  let response;
  try {
    response = await fetch(url, { signal: own.signal, headers: { Accept: "text/html" } });
  } catch (error) {
    if (error.name !== "AbortError") location.assign(url);
    return;
  }
  const text = await response.text();
  if (own.signal.aborted) return;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const page = fresh.querySelector("[data-page]");
  // Signed out meanwhile, or another kind of page: the browser goes there itself.
  if (!page || response.redirected) {
    location.assign(url);
    return;
  }
  const focused = document.activeElement && document.activeElement.closest("form[data-live]") !== null;
  document.querySelector("[data-page]").replaceWith(page);
  document.title = fresh.title;
  const navigation = fresh.querySelector(".top nav");
  if (navigation) document.querySelector(".top nav").replaceWith(navigation);
  if (push) history.pushState({}, "", url);
  if (focused) page.querySelector("form[data-live] button").focus();
  await drawCharts();
}

function urlOf(form) {
  const data = new FormData(form);
  if (data.get("duration") !== "custom") {
    data.delete("from");
    data.delete("to");
  }
  return `${form.getAttribute("action")}?${new URLSearchParams(data)}`;
}

async function openPane(url) {
  const response = await fetch(url).catch(() => null);
  if (!response) {
    location.assign(url);
    return;
  }
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const content = fresh.querySelector("[data-pane-content]");
  if (!content || response.redirected) {
    location.assign(url);
    return;
  }
  showPane(content);
}

function showPane(content) {
  let dialog = document.querySelector("dialog");
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
  }
  dialog.setAttribute("aria-labelledby", content.getAttribute("aria-labelledby"));
  dialog.replaceChildren(content);
  if (!dialog.open) dialog.showModal();
}

async function submitPane(form) {
  const button = form.querySelector("button.main");
  button.disabled = true;
  try {
    const response = await fetch(form.action, {
      method: "POST",
      headers: { Accept: "text/html" },
      body: new URLSearchParams(new FormData(form)),
    });
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const content = fresh.querySelector("[data-pane-content]");
    const refusal = fresh.querySelector("[data-refusal]");
    if (content) showPane(content);
    else tellInPane(form, refusal ? refusal.textContent : `${NOT_KNOWN} The answer was ${response.status}.`);
  } catch {
    tellInPane(form, `${NOT_KNOWN} No answer came.`);
  } finally {
    button.disabled = false;
  }
}

// The form stays as it was filled in: what was refused can be mended, and nothing is sent twice by mistake.
function tellInPane(form, text) {
  let notice = form.parentElement.querySelector("[data-unanswered]");
  if (!notice) {
    notice = document.createElement("p");
    notice.className = "notice bad";
    notice.dataset.unanswered = "";
    notice.setAttribute("role", "alert");
    form.before(notice);
  }
  notice.textContent = text;
  notice.scrollIntoView({ block: "nearest" });
}

async function refresh() {
  const element = document.querySelector("[data-refresh]");
  if (!element || document.hidden) return;
  const response = await fetch(location.href).catch(() => null);
  // What is shown says of when it is; the next look may succeed.
  if (!response) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const content = fresh.querySelector("[data-refresh]");
  if (content && !response.redirected) element.replaceWith(content);
}

addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("form[data-live]")) {
    event.preventDefault();
    show(urlOf(form), true);
  } else if (form.closest("dialog")) {
    event.preventDefault();
    submitPane(form);
  }
});

addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    if (link.matches("[data-pane]")) {
      event.preventDefault();
      openPane(link.href);
    } else if (link.matches("[data-close]") && link.closest("dialog")) {
      event.preventDefault();
      link.closest("dialog").close();
    }
  }
  for (const open of document.querySelectorAll("details.choices[open], details.menu[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});

addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = event.target.closest("details.choices[open], details.menu[open]");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

addEventListener("popstate", () => {
  if (document.querySelector("[data-page]")) show(location.href, false);
});

let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    const charts = [...document.querySelectorAll("[data-chart]")];
    if (charts.some((element) => Math.abs(element.clientWidth - element.dataset.width) > 10)) drawCharts();
  }, 200);
});

darkness.addEventListener("change", drawCharts);
drawCharts();
const interval = document.querySelector("[data-refresh]");
if (interval) setInterval(refresh, Number(interval.dataset.refresh) * 1000);
