import { SyntaxKind } from 'typescript/unstable/ast';
import { createScanner } from 'typescript/unstable/ast/scanner';

export interface Token {
  readonly kind: SyntaxKind;
  /** What was written; for a string, its value. */
  readonly text: string;
  readonly line: number;
}

export interface Import {
  /** What stands between the quotes; null when it is computed, so that nobody can tell what it names. */
  readonly specifier: string | null;
  readonly line: number;
  /** `static` is evaluated before the importing file is; `type` leaves no trace; `lazy` comes later; `worker` elsewhere. */
  readonly form: 'static' | 'type' | 'lazy' | 'worker';
}

/** Comments and white space left out; regular expressions and templates as their parts. By TypeScript's own scanner. */
export function tokensOf(source: string): Token[] {
  const scanner = createScanner(true, undefined, source);
  const tokens: Token[] = [];
  const braces: ('block' | 'template')[] = [];
  let line = 1;
  let counted = 0;
  for (let kind = scanner.scan(); kind !== SyntaxKind.EndOfFile; kind = scanner.scan()) {
    if ((kind === SyntaxKind.SlashToken || kind === SyntaxKind.SlashEqualsToken) && !endsValue(tokens.at(-1))) kind = scanner.reScanSlashToken();
    if (kind === SyntaxKind.OpenBraceToken) braces.push('block');
    if (kind === SyntaxKind.TemplateHead) braces.push('template');
    if (kind === SyntaxKind.CloseBraceToken && braces.pop() === 'template') {
      kind = scanner.reScanTemplateToken(false);
      if (kind === SyntaxKind.TemplateMiddle) braces.push('template');
    }
    for (const start = scanner.getTokenStart(); counted < start; counted++) if (source.charCodeAt(counted) === 10) line++;
    tokens.push({ kind, text: isText(kind) ? scanner.getTokenValue() : scanner.getTokenText(), line });
  }
  return tokens;
}

/** Every file or package that a source names: import, export from, import(), import types, require, workers' URLs. */
export function importsOf(tokens: readonly Token[]): Import[] {
  const found: Import[] = [];
  tokens.forEach((token, at) => {
    if (tokens[at - 1]?.kind === SyntaxKind.DotToken) return;
    const next = tokens[at + 1];
    const late = (argument: number, form: 'lazy' | 'worker' = 'lazy') => found.push({ specifier: literal(tokens[argument]), line: token.line, form });
    if (token.kind === SyntaxKind.ImportKeyword && next?.text === '(') late(at + 2);
    else if (token.kind === SyntaxKind.ImportKeyword || token.kind === SyntaxKind.ExportKeyword) {
      const specifier = clause(tokens, at + 1);
      if (specifier !== undefined) found.push({ specifier, line: token.line, form: isTypeOnly(tokens, at + 1) ? 'type' : 'static' });
    } else if (token.text === 'require' && next?.text === '(') late(at + 2);
    else if (token.text === 'URL' && next?.text === '(' && tokens[at + 3]?.text === ',' && tokens[at + 4]?.text === 'import') late(at + 2, 'worker');
  });
  return found;
}

/** The specifier of `… from 'x'`, of `'x'` alone, or nothing when the statement names no file. */
function clause(tokens: readonly Token[], from: number): string | undefined {
  if (tokens[from]?.kind === SyntaxKind.StringLiteral) return tokens[from].text;
  let at = from;
  if (tokens[at]?.text === 'type') at++;
  // import a, { b } from · import * as a from · export * from · export { a } from
  for (let depth = 0; at < tokens.length; at++) {
    const { kind, text } = tokens[at]!;
    if (kind === SyntaxKind.OpenBraceToken) depth++;
    else if (kind === SyntaxKind.CloseBraceToken) depth--;
    else if (depth === 0 && text === 'from' && tokens[at + 1]?.kind === SyntaxKind.StringLiteral) return tokens[at + 1]!.text;
    else if (depth === 0 && !NAMES.has(text) && kind !== SyntaxKind.Identifier) return undefined;
    else if (depth === 1 && text !== ',' && !isName(tokens[at]!)) return undefined;
  }
  return undefined;
}

const NAMES = new Set(['*', ',', 'as', 'from', 'type', 'default']);

function isName({ kind }: Token): boolean {
  return kind === SyntaxKind.StringLiteral || kind === SyntaxKind.Identifier || kind >= SyntaxKind.FirstKeyword;
}

function isTypeOnly(tokens: readonly Token[], at: number): boolean {
  // `import type from 'x'` imports a value that is called type.
  return tokens[at]?.text === 'type' && !(tokens[at + 1]?.text === 'from' && tokens[at + 2]?.kind === SyntaxKind.StringLiteral);
}

function literal(token: Token | undefined): string | null {
  const isLiteral = token?.kind === SyntaxKind.StringLiteral || token?.kind === SyntaxKind.NoSubstitutionTemplateLiteral;
  return isLiteral ? token.text : null;
}

function isText(kind: SyntaxKind): boolean {
  return kind === SyntaxKind.StringLiteral || kind === SyntaxKind.NoSubstitutionTemplateLiteral;
}

/** After a value a slash divides; elsewhere it begins a regular expression. */
function endsValue(token: Token | undefined): boolean {
  if (token === undefined) return false;
  const { kind, text } = token;
  if (text === ')' || text === ']' || text === '}' || text === 'this' || text === 'super' || text === 'null' || text === 'true' || text === 'false') return true;
  return kind === SyntaxKind.Identifier || kind === SyntaxKind.NumericLiteral || kind === SyntaxKind.TemplateTail || isText(kind);
}
