import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { importsOf, tokensOf, type Import, type Token } from './imports.ts';

export interface SourceFile {
  /** From the project's folder, with forward slashes. */
  readonly path: string;
  readonly lines: number;
  /** Lines that hold at least one token. */
  readonly codeLines: number;
  readonly tokens: readonly Token[];
  readonly imports: readonly Import[];
}

const FOLDERS = ['src', 'modules', 'adapters'];
const SKIPPED = new Set(['node_modules', 'dist', 'data']);

/** Every TypeScript and JavaScript file of the program, as it lies on disk. */
export function readTree(root: string): Map<string, SourceFile> {
  const files = new Map<string, SourceFile>();
  const visit = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name);
      if (entry.isDirectory() && !SKIPPED.has(entry.name)) visit(path);
      else if (/\.[cm]?[jt]sx?$/.test(entry.name) && !/\.d\.[cm]?ts$/.test(entry.name)) files.set(path, readSource(root, path));
    }
  };
  for (const entry of readdirSync(root, { withFileTypes: true })) if (entry.isDirectory() && FOLDERS.includes(entry.name)) visit(entry.name);
  return files;
}

function readSource(root: string, path: string): SourceFile {
  const source = readFileSync(join(root, path), 'utf8');
  const tokens = tokensOf(source);
  const lines = source.split('\n').length - (source.endsWith('\n') ? 1 : 0);
  return { path, lines, codeLines: new Set(tokens.map((token) => token.line)).size, tokens, imports: importsOf(tokens) };
}
