/** What a spreadsheet would take for a formula, and run; and what such text looks like once it is guarded. */
const FORMULA = /^'*(?:\s*[=+\-@]|[\t\r\n])/;
const GUARDED = /^'+(?:\s*[=+\-@]|[\t\r\n])/;

/** The text as it may stand in a CSV file. */
export function guarded(text: string): string {
  return FORMULA.test(text) ? `'${text}` : text;
}

/** What `guarded` was given; any other text is left alone. */
export function unguarded(text: string): string {
  return GUARDED.test(text) ? text.slice(1) : text;
}
