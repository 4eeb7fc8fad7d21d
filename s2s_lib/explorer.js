// Turns the tables of an explorer into a view to point at. The tables are its
// only data. All text goes in as text nodes, never as markup.
(() => {
  const make = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes))
      node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const span = (name, ...children) => make("span", { class: name }, ...children);

  const read = (table) => {
    const first = Number(table.dataset.first);
    const [head, ...body] = [...table.rows].map((row) =>
      [...row.cells].map((cell) => cell.textContent));
    return {
      table,
      example: table.dataset.example,
      name: table.dataset.view,
      source: head.slice(first),
      steps: body.map((row) => ({
        word: row[0],
        probability: first > 1 ? Number(row[1]) : null,
        weights: row.slice(first).map(parseFloat),
        gold: row.slice(first).map((cell) => cell.includes("✓")),
      })),
    };
  };

  // In words, what is drawn: for a screen reader, and for everybody.
  const describe = ({ name, source, steps }, step, gold) => {
    const now = steps[step];
    if (!now) return `${name} has ended, after ${steps.length} words.`;
    const label = (i) => source.indexOf(source[i]) === source.lastIndexOf(source[i])
      ? `“${source[i]}”` : `“${source[i]}” (word ${i + 1})`;
    const highest = source.map((_, i) => i)
      .filter((i) => now.weights[i] >= 0.005)
      .sort((a, b) => now.weights[b] - now.weights[a]).slice(0, 3)
      .map((i) => `${label(i)} ${now.weights[i].toFixed(2)}`);
    const linked = source.map((_, i) => i).filter((i) => now.gold[i]).map(label);
    const sure = now.probability === null
      ? "" : ` with probability ${now.probability.toFixed(2)}`;
    return `Step ${step + 1}, ${name}: target word “${now.word}”${sure}. `
      + `Highest weights: ${highest.join(", ") || "none"}.`
      + (gold ? ` Gold: ${linked.join(", ") || "no link"}.` : "");
  };

  const buildPanel = (view) => {
    const columns = view.source.map((word) => {
      const bar = span("s2s-bar");
      const value = span("s2s-weight");
      const node = make("li", {}, span("s2s-track", bar), span("s2s-word", word),
        value, span("s2s-mark", "✓"));
      return { node, bar, value };
    });
    const options = view.steps.map(({ word, probability }, j) => {
      const node = make("li", { role: "option", "data-step": j }, span("s2s-word", word));
      if (probability !== null)
        node.append(make("small", {}, probability.toFixed(2)));
      return node;
    });
    const status = make("p", { class: "s2s-status", role: "status" });
    const node = make("div", { class: "s2s-panel" },
      make("p", {}, make("b", {}, view.name), " · source"),
      make("ul", { class: "s2s-source", role: "list", "aria-label": `${view.name}: source words and weights` },
        ...columns.map((column) => column.node)),
      make("p", {}, view.steps[0].probability === null
        ? "target" : "target, and the probability of each word"),
      make("ul", { class: "s2s-target", role: "listbox", "aria-orientation": "horizontal",
        "aria-label": `${view.name}: target words` }, ...options),
      status);
    return { view, node, columns, options, status };
  };

  const enhance = (root) => {
    root.dataset.ready = "";
    const views = [...root.querySelectorAll("table")].map(read);
    const hasGold = views.some((view) => view.steps.some((step) => step.gold.includes(true)));
    const examples = [...new Set(views.map((view) => view.example))];
    const state = { example: examples[0], model: "", step: 0, hovered: null, gold: hasGold };
    let panels = [];

    const field = (label, choices, change) => {
      const select = make("select", {}, ...choices.map(([value, text]) =>
        make("option", { value }, text)));
      select.addEventListener("change", () => change(select.value));
      return make("label", {}, label, select);
    };
    const previous = make("button", { type: "button" }, "← previous");
    const next = make("button", { type: "button" }, "next →");
    const count = span("s2s-count");
    const stage = make("div", {});
    const modelField = make("span", {});
    const controls = make("div", { class: "s2s-controls" },
      make("span", { class: "s2s-steps" }, previous, count, next));

    const length = () => Math.max(...panels.map(({ view }) => view.steps.length));
    const draw = () => {
      const step = state.hovered ?? state.step;
      for (const { view, columns, options, status } of panels) {
        const now = view.steps[step];
        columns.forEach(({ node, bar, value }, i) => {
          bar.style.height = `${now ? 100 * now.weights[i] : 0}%`;
          value.textContent = now ? now.weights[i].toFixed(2) : "–";
          node.classList.toggle("s2s-gold", Boolean(state.gold && now?.gold[i]));
        });
        options.forEach((node, j) => {
          node.setAttribute("aria-selected", j === step);
          node.tabIndex = j === Math.min(state.step, options.length - 1) ? 0 : -1;
          node.classList.toggle("s2s-later", j > step);
        });
        status.textContent = describe(view, step, state.gold);
      }
      count.textContent = `${step + 1} of ${length()}`;
      previous.setAttribute("aria-disabled", state.step === 0);
      next.setAttribute("aria-disabled", state.step === length() - 1);
    };
    const go = (step) => {
      state.hovered = null;
      state.step = Math.max(0, Math.min(step, length() - 1));
      draw();
    };
    const fill = () => {
      const here = views.filter((view) => view.example === state.example);
      const shown = here.filter((view) => !state.model || view.name === state.model);
      for (const view of views) view.table.hidden = !shown.includes(view);
      panels = shown.map(buildPanel);
      stage.replaceChildren(...panels.map((panel) => panel.node));
      go(state.step);
    };
    const choose = (example) => {
      Object.assign(state, { example, model: "", step: 0 });
      const names = views.filter((view) => view.example === example).map((view) => view.name);
      modelField.replaceChildren(...(names.length < 2 ? [] : [field("model",
        [["", "compare all"], ...names.map((name) => [name, name])],
        (model) => { state.model = model; fill(); })]));
      fill();
    };

    if (examples.length > 1)
      controls.prepend(field("example", examples.map((name) => [name, name]), choose));
    controls.append(modelField);
    if (hasGold) {
      const box = make("input", { type: "checkbox" });
      box.checked = true;
      box.addEventListener("change", () => { state.gold = box.checked; draw(); });
      controls.append(make("label", {}, box, "gold links ✓"));
    }
    previous.addEventListener("click", () => go(state.step - 1));
    next.addEventListener("click", () => go(state.step + 1));

    // A mouse looks by pointing and chooses by clicking; a finger taps.
    const stepOf = (event) => {
      const option = event.target.closest("[data-step]");
      return option ? Number(option.dataset.step) : null;
    };
    stage.addEventListener("click", (event) => {
      if (stepOf(event) !== null) go(stepOf(event));
    });
    stage.addEventListener("pointerover", (event) => {
      if (event.pointerType === "touch" || stepOf(event) === state.hovered) return;
      state.hovered = stepOf(event);
      draw();
    });
    stage.addEventListener("pointerleave", () => {
      if (state.hovered === null) return;
      state.hovered = null;
      draw();
    });
    // The keys are not for the page around: there they turn pages.
    root.addEventListener("keydown", (event) => {
      const last = length() - 1;
      const to = { ArrowLeft: state.step - 1, ArrowRight: state.step + 1, Home: 0, End: last }[event.key];
      const list = event.target.closest("[role=listbox]");
      const chosen = list && (event.key === "Enter" || event.key === " ");
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (to === undefined && !chosen) return;
      event.stopPropagation();
      if (event.target.closest("select, .s2s-tables")) return;
      event.preventDefault();
      if (chosen) return go(stepOf(event));
      go(to);
      list?.querySelector("[tabindex='0']")?.focus();
    });

    const tables = make("div", { class: "s2s-tables", tabindex: 0, role: "region", "aria-label": "all weights" });
    for (const { table, steps } of views) {
      const first = Number(table.dataset.first);
      steps.forEach((step, j) => step.weights.forEach((weight, i) => {
        const cell = table.rows[j + 1].cells[i + first];
        cell.style.setProperty("--weight", weight);
        cell.classList.toggle("s2s-gold", step.gold[i]);
      }));
      tables.append(table);
    }
    const help = "Point at a target word, tap it, or use the keys ← and →. "
      + "Bars and numbers: its weights on the source words.";
    root.append(controls, make("p", { class: "s2s-help" }, help), stage,
      make("details", {}, make("summary", {}, "All weights as a table"), tables));
    choose(state.example);
  };

  document.querySelectorAll(".s2s-explorer:not([data-ready])").forEach(enhance);
})();
