/** The pages' only style sheet. Follows the reader's light or dark setting and the width of the window. */
export const STYLE = `:root { color-scheme: light dark; --ink: light-dark(#1d2430, #e6e9ef); --soft: light-dark(#5b6575, #9aa4b5); --line: light-dark(#d7dce4, #333b49); --back: light-dark(#fbfcfd, #14181f); --box: light-dark(#fff, #1b212b); --accent: light-dark(#1457c8, #7fb0ff); --bad: light-dark(#b3261e, #ff9d96); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header { border-bottom: 1px solid var(--line); padding: .75rem 1rem; display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center; }
header strong { margin-right: auto; }
header form { margin: 0; }
header a, header button { white-space: nowrap; }
header .soft { font-weight: 400; margin-left: .5rem; overflow-wrap: anywhere; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
a { color: var(--accent); }
h1 { font-size: 1.5rem; margin: .5rem 0 1rem; }
h2 { font-size: 1.15rem; margin: 1.75rem 0 .5rem; }
.narrow { max-width: 26rem; margin: 0 auto; }
.box { background: var(--box); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; }
.box > :first-child { margin-top: 0; }
.box > label:first-of-type { margin-top: 0; }
.box > :last-child { margin-bottom: 0; }
.soft { color: var(--soft); font-size: .9rem; }
td.soft, td.short, button.plain { white-space: nowrap; }
.bad { color: var(--bad); }
label { display: block; margin: .75rem 0 .25rem; }
label.inline { display: inline-flex; gap: .35rem; margin-right: 1rem; align-items: center; }
input[type=text], input[type=email], input[type=password], select { width: 100%; padding: .5rem .6rem; font: inherit; color: inherit; background: var(--back); border: 1px solid var(--line); border-radius: .35rem; }
input[type=file] { display: block; max-width: 100%; font: inherit; }
button { font: inherit; padding: .5rem 1rem; margin-top: 1rem; border: 0; border-radius: .35rem; background: var(--accent); color: var(--back); cursor: pointer; }
button.plain { margin: 0; padding: 0; background: none; color: var(--accent); text-decoration: underline; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; padding: .45rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
code, pre { font: .9rem/1.45 ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--box); border: 1px solid var(--line); border-radius: .35rem; padding: .75rem; white-space: pre-wrap; overflow-wrap: anywhere; }
iframe { width: 100%; height: 70vh; border: 1px solid var(--line); border-radius: .35rem; background: #fff; }
th.wide { width: 45%; }
.method { font-weight: 600; white-space: nowrap; }
@media (max-width: 40rem) { header strong { flex-basis: 100%; } thead { display: none; } td { display: block; border: 0; padding: .1rem 0; } td[data-label]::before { content: attr(data-label) " "; } tr { display: block; border-bottom: 1px solid var(--line); padding: .6rem 0; } }
`;

/** An envelope. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect x="2" y="6" width="28" height="20" rx="3" fill="#1457c8"/><path d="M4 9l12 9 12-9" fill="none" stroke="#fff" stroke-width="2.5"/></svg>`;
