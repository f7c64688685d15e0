// Buttons, fields, dialogues: Airflow's own kit where the UI hands it on (3.2 and newer), else plain elements that
// look alike. Rows are plain elements on every version: a thousand of them have to be fast.

import { T } from "./texts.js";

const { React, ReactRouterDOM: Router, ChakraUI: Kit } = globalThis;
export const { createElement: h, Fragment, memo, useCallback, useEffect, useId, useMemo, useRef, useState } = React;
export const { useLocation, useNavigate } = Router;

export const join = (...names) => names.filter(Boolean).join(" ");

// -- parts -------------------------------------------------------------------------------------------------

/** Takes the focus as soon as it is there. */
export const takeFocus = (element) => element?.focus();

export function Button({ kind = "plain", isFirst, children, ...more }) {
  const props = { type: "button", ...more, ...(isFirst ? { ref: takeFocus } : {}) };
  if (!Kit?.Button || kind === "small") return h("button", { ...props, className: `xr-button xr-${kind}` }, children);
  const looks = {
    plain: { variant: "outline" },
    danger: { colorPalette: "danger" },
    main: { colorPalette: "brand" },
  };
  return h(Kit.Button, { size: "sm", ...looks[kind], ...props }, children);
}

export function Input({ inputRef, ...props }) {
  return Kit?.Input ? h(Kit.Input, { size: "sm", ref: inputRef, ...props }) : h("input", { ...props, ref: inputRef, className: "xr-field" });
}

export function Field({ label, hint, children }) {
  const id = useId();
  const hintId = hint ? `${id}-hint` : undefined;
  return h("div", { className: "xr-label" }, h("label", { htmlFor: id }, label), children({ id, "aria-describedby": hintId }), hint && h("span", { id: hintId, className: "xr-muted" }, hint));
}

export function Select({ label, value, options, onChange, words = {} }) {
  const items = [h("option", { key: "", value: "" }, T.any), ...options.map((one) => h("option", { key: one, value: one }, words[one] ?? one))];
  const lost = value && !options.includes(value) ? h("option", { key: value, value }, value) : null;
  const change = (event) => onChange(event.target.value);
  return h(Field, { label }, (props) =>
    Kit?.NativeSelect
      ? h(Kit.NativeSelect.Root, { size: "sm" }, h(Kit.NativeSelect.Field, { ...props, value, onChange: change }, items, lost), h(Kit.NativeSelect.Indicator))
      : h("select", { ...props, className: "xr-field", value, onChange: change }, items, lost),
  );
}

/** Something that has to be noticed. A failure is said at once by a screen reader, all else when it is quiet. */
export function Notice({ kind = "info", title, children }) {
  const role = kind === "error" ? "alert" : "status";
  if (!Kit?.Alert) return h("div", { role, className: `xr-notice xr-notice-${kind}` }, title && h("strong", null, title), h("div", null, children));
  const content = h(Kit.Alert.Content, null, title && h(Kit.Alert.Title, null, title), h(Kit.Alert.Description, { as: "div" }, children));
  return h(Kit.Alert.Root, { role, status: kind, mb: 3 }, h(Kit.Alert.Indicator), content);
}

/** When a dialogue goes, the focus is where it was before; if that makes no sense any more, at the list. */
function useFocusGivenBack(isDone) {
  const before = useRef(document.activeElement);
  const done = useRef(isDone);
  done.current = isDone;
  useEffect(() => () => {
    const giveBack = () => {
      const { current: opener } = before;
      const isThere = !done.current && opener !== document.body && opener.isConnected && !opener.disabled;
      takeFocus(isThere ? opener : document.querySelector(".xr-page [role=region]") ?? document.querySelector(".xr-page"));
    };
    setTimeout(giveBack); // once the kit has let go of it
  }, []);
}

/** In a plain dialogue what comes after the last is the first, as in the kit's; else it would be the browser's own. */
function goRound(event) {
  if (event.key !== "Tab") return;
  const all = [...event.currentTarget.querySelectorAll("a[href], button:enabled, input:enabled, [tabindex='0']")];
  const [end, other] = event.shiftKey ? [all[0], all.at(-1)] : [all.at(-1), all[0]];
  if (document.activeElement !== end) return;
  event.preventDefault();
  takeFocus(other);
}

export function Dialogue({ title, isDone, onClose, children, footer }) {
  useFocusGivenBack(isDone);
  const ref = useRef(null);
  const id = useId();
  const plain = !Kit?.Dialog;
  useEffect(() => {
    if (!plain || ref.current.open) return;
    ref.current.showModal();
    ref.current.querySelector("input, .xr-main")?.focus(); // not the list, which comes first
  }, [plain]);
  if (plain) {
    const cancel = (event) => {
      event.preventDefault();
      onClose();
    };
    return h("dialog", { ref, className: "xr-dialog xr", "aria-labelledby": id, onCancel: cancel, onKeyDown: goRound }, h("h2", { id }, title), h("div", { className: "xr-scroll" }, children), h("footer", null, footer));
  }
  const { Dialog, Portal } = Kit;
  const content = h(
    Dialog.Content,
    { ref, className: "xr" },
    h(Dialog.Header, null, h(Dialog.Title, null, title)),
    h(Dialog.Body, null, children),
    h(Dialog.Footer, null, footer),
  );
  const initialFocusEl = () => ref.current?.querySelector("input") ?? null;
  const root = { open: true, role: "dialog", size: "lg", scrollBehavior: "inside", initialFocusEl, onOpenChange: ({ open }) => open || onClose() };
  return h(Dialog.Root, root, h(Portal, null, h(Dialog.Backdrop), h(Dialog.Positioner, null, content)));
}

const BASE = new URL(document.baseURI).pathname.replace(/\/$/, "");

/** A link to another page of Airflow; a click on it is taken by Around. The router's own is slow by the thousand. */
export const Link = ({ to, children, ...more }) => h("a", { href: BASE + to, "data-to": to, ...more }, children);

/** What stands around all of a page, and leads to other pages without loading Airflow anew. */
export function Around({ children }) {
  const navigate = useNavigate();
  const go = (event) => {
    const link = event.target.closest?.("a[data-to]");
    if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(link.dataset.to);
  };
  return h("div", { className: "xr xr-page", tabIndex: -1, onClick: go }, children);
}

export const Out = ({ to, children, ...more }) => h("a", { href: to, target: "_blank", rel: "noopener noreferrer", ...more }, children);

export const Badge = ({ kind, children }) => h("span", { className: join("xr-badge", `xr-${kind}`) }, children);

export function Bar({ part, words }) {
  const percent = Math.round(part * 100);
  const kind = part >= 1 ? "xr-over" : part >= 0.8 ? "xr-close" : "";
  const meter = { role: "meter", "aria-label": words, "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 };
  return h("div", { className: "xr-bar", ...meter }, h("div", { className: join("xr-fill", kind), style: { width: `${percent}%` } }));
}

export function Command({ text, name }) {
  const [copied, setCopied] = useState(false);
  const copy = () => navigator.clipboard?.writeText(text).then(() => setCopied(true), () => {});
  return h("div", { className: "xr-command" }, h("code", null, text), navigator.clipboard && h(Button, { kind: "small", onClick: copy, "aria-label": T.copyCommand(name) }, copied ? T.copied : T.copy));
}

/** Says what has happened below it has failed, instead of taking Airflow's page with it. */
export class Wall extends React.Component {
  state = { error: null };
  static getDerivedStateFromError(error) {
    return { error };
  }
  componentDidCatch(error) {
    console.error("airflow-runctl:", error);
  }
  render() {
    return this.state.error ? h("div", { className: "xr" }, h(Notice, { kind: "error", title: T.broken }, T.brokenHint)) : this.props.children;
  }
}

// -- looks -------------------------------------------------------------------------------------------------

const color = (name, otherwise) => `var(--chakra-colors-${name}, ${otherwise})`;

const CSS = `
.xr { color: ${color("fg", "CanvasText")}; font-size: 0.875rem; }
.xr-page { padding: 1rem; container-type: inline-size; }
.xr h1 { font-size: 1.25rem; font-weight: 600; margin: 0; }
.xr h2 { font-size: 1.05rem; font-weight: 600; margin: 0 0 .5rem; }
.xr h3 { font-size: .9rem; font-weight: 600; margin: .75rem 0 .25rem; }
.xr a { color: ${color("fg-info", "LinkText")}; text-decoration: underline; text-underline-offset: 2px; overflow-wrap: anywhere; }
.xr-muted { color: ${color("fg-muted", "GrayText")}; font-size: .8rem; }
.xr-head, .xr-filter, .xr-tools { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: end; margin-bottom: .75rem; }
.xr-head > :first-child { flex: 1 1 16rem; }
.xr-tools { align-items: center; }
.xr-label { display: flex; flex-direction: column; gap: .15rem; min-width: 8rem; }
.xr-label label, .xr-check { font-size: .8rem; }
.xr-check { display: flex; gap: .4rem; align-items: center; min-height: 2rem; }
.xr-field { font: inherit; padding: .3rem .5rem; border: 1px solid ${color("border-emphasized", "GrayText")}; border-radius: .25rem; background: ${color("bg", "Canvas")}; color: inherit; width: 100%; }
.xr-button { font: inherit; padding: .3rem .75rem; border: 1px solid ${color("border-emphasized", "GrayText")}; border-radius: .25rem; background: transparent; color: inherit; cursor: pointer; }
.xr-button:disabled { opacity: .5; cursor: not-allowed; }
.xr-button.xr-small { padding: .05rem .5rem; font-size: .75rem; }
.xr-button.xr-main { background: ${color("brand-solid", "#017cee")}; border-color: transparent; color: ${color("brand-contrast", "#fff")}; }
.xr-button.xr-danger { background: ${color("red-700", "#a11")}; border-color: transparent; color: #fff; }
.xr-page:focus { outline: none; }
.xr :focus-visible { outline: 2px solid ${color("fg-info", "Highlight")}; outline-offset: 1px; }
.xr-scroll { overflow: auto; }
.xr table { border-collapse: collapse; width: 100%; }
.xr th, .xr td { text-align: start; vertical-align: top; padding: .4rem .5rem; border-bottom: 1px solid ${color("border", "GrayText")}; }
.xr th { font-weight: 600; white-space: nowrap; }
.xr-sort { font: inherit; font-weight: 600; background: none; border: 0; padding: 0; color: inherit; cursor: pointer; }
.xr .xr-fine { font-size: .75rem; }
.xr-short { white-space: nowrap; }
.xr-gone { color: ${color("fg-muted", "GrayText")}; background: ${color("bg-subtle", "transparent")}; }
.xr-cell { display: flex; flex-direction: column; gap: .15rem; align-items: flex-start; overflow-wrap: anywhere; }
.xr-wide .xr-cell { max-width: 14rem; }
.xr-acts { display: flex; flex-wrap: wrap; gap: .3rem; }
.xr-badge { display: inline-block; border-radius: .25rem; padding: 0 .4rem; font-size: .75rem; line-height: 1.4; background: ${color("bg-emphasized", "transparent")}; color: ${color("fg", "CanvasText")}; border: 1px solid ${color("border", "GrayText")}; }
.xr-badge.xr-orphan { background: ${color("red-subtle", "transparent")}; color: ${color("red-fg", "#a11")}; }
.xr-badge.xr-unclear { background: ${color("orange-subtle", "transparent")}; color: ${color("orange-fg", "#850")}; }
.xr-badge.xr-ok { background: ${color("green-subtle", "transparent")}; color: ${color("green-fg", "#060")}; }
.xr-bar { width: 7rem; max-width: 100%; height: .45rem; border-radius: .25rem; background: ${color("bg-emphasized", "#ccc")}; overflow: hidden; }
.xr-fill { height: 100%; background: ${color("blue-solid", "#26c")}; }
.xr-fill.xr-close { background: ${color("orange-solid", "#c60")}; }
.xr-fill.xr-over { background: ${color("red-solid", "#c22")}; }
.xr-late { color: ${color("red-fg", "#a11")}; font-weight: 600; }
.xr-notice { border: 1px solid ${color("border-emphasized", "GrayText")}; border-inline-start-width: 4px; border-radius: .25rem; padding: .5rem .75rem; margin-bottom: .75rem; }
.xr-notice-error { border-color: ${color("red-solid", "#c22")}; }
.xr-notice-warning { border-color: ${color("orange-solid", "#c60")}; }
.xr-notice-success { border-color: ${color("green-solid", "#161")}; }
.xr-command { display: flex; gap: .5rem; align-items: center; flex-wrap: wrap; margin: .25rem 0; }
.xr-command code { background: ${color("bg-muted", "transparent")}; padding: .1rem .4rem; border-radius: .25rem; overflow-wrap: anywhere; font-family: monospace; }
.xr-dialog { border: 1px solid ${color("border", "GrayText")}; border-radius: .5rem; padding: 1rem 1.25rem; width: min(42rem, 92vw); max-height: 88vh; margin: auto; background: ${color("bg", "Canvas")}; }
.xr-dialog::backdrop { background: rgb(0 0 0 / .5); }
.xr-dialog .xr-scroll { max-height: 60vh; }
.xr-dialog footer { display: flex; justify-content: flex-end; gap: .5rem; margin-top: 1rem; }
.xr-list { list-style: none; margin: .5rem 0; padding: 0; max-height: 16rem; overflow: auto; }
.xr-list li { padding: .3rem 0; border-bottom: 1px solid ${color("border", "GrayText")}; overflow-wrap: anywhere; }
.xr-card { border: 1px solid ${color("border", "GrayText")}; border-radius: .5rem; padding: .75rem 1rem; margin-bottom: .75rem; }
.xr-quiet { text-align: center; padding: 2.5rem 1rem; }
.xr details { margin-top: 1rem; } .xr summary { cursor: pointer; font-weight: 600; }
.xr-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@container (max-width: 46rem) {
  .xr-wide thead { display: none; }
  .xr-wide, .xr-wide tbody { display: block; }
  .xr-wide tr { display: block; border: 1px solid ${color("border", "GrayText")}; border-radius: .5rem; margin-bottom: .5rem; padding: .25rem .5rem; }
  .xr-wide .xr-cell { max-width: none; }
  .xr-wide td { display: flex; gap: .5rem; border: 0; padding: .2rem 0; }
  .xr-wide td[data-name]::before { content: attr(data-name); flex: 0 0 7rem; color: ${color("fg-muted", "GrayText")}; font-size: .8rem; }
  .xr-label { min-width: 45%; flex: 1; }
}`;

export function Looks() {
  return h("style", null, CSS);
}
