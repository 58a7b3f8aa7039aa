// Uploads with progress that go on where they broke off, dropped files and folders, and a question before a removal.

document.documentElement.classList.add("scripted");

const PIECE_BYTES = 16 * 1024 * 1024;
const PAUSES_MS = [500, 2000, 5000, 10000];
const form = document.getElementById("upload");
const list = document.getElementById("uploads");
const words = form ? JSON.parse(form.dataset.words) : {};
let ticket = form?.dataset.ticket;

class Refused extends Error {
  constructor(status, told) {
    super(told.message ?? String(status));
    this.status = status;
    this.field = told.field;
  }
}

async function renew() {
  const own = form.dataset.renew === "";
  const answer = own
    ? await fetch("/api/v1/files/ticket", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" })
    : await fetch(form.dataset.renew);
  if (answer.ok) ticket = (await answer.json()).ticket;
}

// XMLHttpRequest and not fetch: only it tells how much was sent.
function ask(method, query, body, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, `${form.dataset.url}/upload?${new URLSearchParams(query)}`);
    request.setRequestHeader("Authorization", `Bearer ${ticket}`);
    request.responseType = "json";
    request.timeout = body ? 0 : 15000;
    if (progress) request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response);
      else reject(new Refused(request.status, request.response ?? {}));
    });
    for (const event of ["error", "timeout"]) request.addEventListener(event, () => reject(new Error(words.lost)));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    if (progress) progress.request = request;
    request.send(body ?? null);
  });
}

class Upload {
  constructor(file, path) {
    this.file = file;
    this.query = { path, size: file.size, modified: file.lastModified };
    this.item = document.createElement("li");
    this.name = document.createElement("span");
    this.name.textContent = file.name;
    this.doing = document.createElement("span");
    this.doing.className = "doing";
    this.bar = document.createElement("progress");
    this.bar.max = Math.max(1, file.size);
    this.bar.value = 0;
    this.bar.setAttribute("aria-label", file.name);
    this.item.append(this.name, this.doing, this.bar);
    list.append(this.item);
    this.show(words.waiting);
  }

  show(text, ...buttons) {
    this.doing.replaceChildren(text, ...buttons);
  }

  button(text, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = text;
    button.addEventListener("click", action);
    return button;
  }

  async run() {
    this.said?.remove();
    try {
      await this.send();
      this.bar.value = this.bar.max;
      this.show(words.done);
      return true;
    } catch (error) {
      if (error.name === "AbortError") {
        this.item.remove();
        await ask("DELETE", this.query).catch(() => null);
        return false;
      }
      this.said = document.createElement("span");
      this.said.className = "said";
      this.said.textContent = error.message;
      this.item.append(this.said);
      const taken = error.status === 409 && error.field === "path" && form.dataset.renew === "";
      const again = () => this.run().then((good) => good && refresh());
      const replace = () => {
        this.query.replace = 1;
        again();
      };
      this.show(words.failed, taken ? this.button(words.replace, replace) : this.button(words.again, again));
      return false;
    }
  }

  async send() {
    let { offset } = await this.patiently(() => ask("GET", this.query));
    for (;;) {
      const begin = offset;
      const progress = (sent) => {
        this.bar.value = begin + sent;
        this.show(`${Math.floor((100 * (begin + sent)) / this.bar.max)} %`, this.button(words.end, () => progress.request.abort()));
      };
      const piece = this.file.slice(begin, begin + PIECE_BYTES);
      const answer = await this.patiently(async (tries) => {
        if (tries && (await ask("GET", this.query)).offset !== begin) return null;
        return ask("PATCH", { ...this.query, offset: begin }, piece, progress);
      });
      if (answer?.done) return;
      offset = answer ? answer.offset : (await ask("GET", this.query)).offset;
    }
  }

  // What the box did not answer is tried again after a pause; what it refused is not, but for an old ticket.
  async patiently(work) {
    for (let tries = 0; ; tries += 1) {
      try {
        return await work(tries);
      } catch (error) {
        const passing = !(error instanceof Refused) || error.status === 401 || error.status >= 502 && error.status < 505;
        if (error.name === "AbortError" || !passing || tries >= PAUSES_MS.length) throw error;
        if (error.status === 401) await renew();
        await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[tries]));
      }
    }
  }
}

const quoted = (path) => path.split("/").map(encodeURIComponent).join("/");

async function uploadAll(files) {
  const folder = form.dataset.path;
  const uploads = files.map(({ file, path }) => new Upload(file, (folder ? `${folder}/` : "") + quoted(path)));
  let good = 0;
  for (const upload of uploads) good += await upload.run();
  if (good) await refresh();
}

async function refresh() {
  const card = document.querySelector(".files-card");
  if (!card) return;
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".files-card");
  if (fresh) card.replaceChildren(...fresh.childNodes);
}

// A dropped folder is walked; its files keep their places in it.
async function walk(entry, prefix = "") {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path: prefix + file.name }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const inner of some) found.push(...(await walk(inner, `${prefix}${entry.name}/`)));
  }
}

if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const input = form.querySelector("input[type=file]");
    const files = [...input.files].map((file) => ({ file, path: file.name }));
    input.value = "";
    uploadAll(files);
  });
  for (const [event, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    form.addEventListener(event, (happened) => {
      happened.preventDefault();
      form.classList.toggle("over", over);
    });
  }
  form.addEventListener("drop", async (event) => {
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    uploadAll((await Promise.all(entries.map((entry) => walk(entry)))).flat());
  });
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset?.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
