import type { Connection } from 'pg';
import { types } from './values.ts';
import type { Query } from './statements.ts';

/** What the server has answered to one statement. */
export interface Answer {
  /** The first word of the server's tag, e.g. `INSERT`. */
  readonly command: string;
  readonly rowCount: number;
  readonly rows: Record<string, unknown>[];
}

/** One statement on its way, and who is told. */
export interface Step {
  readonly query: Query;
  done(answer: Answer): void;
  /** A value that cannot be told exactly: the server is none the wiser. */
  unreadable(error: unknown): void;
}

/** How a burst ended early: `at` is the step that failed; the server has done none after it. */
export interface Breach {
  readonly at: number;
  readonly error: unknown;
}

/** How the rows of a statement are read. */
interface Shape {
  readonly names: readonly string[];
  readonly readers: readonly ((text: string) => unknown)[];
}
const NO_ROWS: Shape = { names: [], readers: [] };

/** What one connection has prepared, by name. */
export class Prepared {
  readonly shapes = new Map<string, Shape>();
  /** Perhaps prepared: the burst in which they were to be failed. */
  readonly doubtful = new Set<string>();
}

interface Field {
  readonly name: string;
  readonly dataTypeID: number;
}

/**
 * Statements that are sent in one piece and answered in one: a trip, a flush and two system calls at each end are most
 * of what a short statement costs. What pg calls a submittable: its connection takes it like a query of its own
 * (https://www.postgresql.org/docs/15/protocol-flow.html#PROTOCOL-FLOW-PIPELINING). After an error the server skips the
 * rest.
 */
export class Burst {
  readonly #steps: readonly Step[];
  readonly #prepared: Prepared;
  readonly #over: (breach?: Breach) => void;
  #at = 0;
  #shape: Shape | undefined;
  #rows: Record<string, unknown>[] = [];
  #unreadable: { readonly error: unknown } | undefined;

  constructor(steps: readonly Step[], prepared: Prepared, over: (breach?: Breach) => void) {
    this.#steps = steps;
    this.#prepared = prepared;
    this.#over = over;
  }

  submit(connection: Connection): void {
    const { stream } = connection;
    const parsed = new Set<string>();
    stream.cork();
    for (const { query } of this.#steps) this.#send(connection as unknown as Wire, query, parsed);
    connection.sync();
    stream.uncork();
  }

  #send(wire: Wire, { name, text, values }: Query, parsed: Set<string>): void {
    const isKnown = name !== undefined && (this.#prepared.shapes.has(name) || parsed.has(name));
    if (!isKnown) {
      if (name !== undefined) {
        parsed.add(name);
        if (this.#prepared.doubtful.delete(name)) wire.close({ type: 'S', name });
      }
      wire.parse({ name: name ?? '', text, types: [] });
    }
    wire.bind({ portal: '', statement: name ?? '', values, binary: false, valueMapper });
    if (!isKnown) wire.describe({ type: 'P', name: '' });
    wire.execute({ portal: '', rows: 0 });
  }

  handleRowDescription({ fields }: { readonly fields: readonly Field[] }): void {
    this.#shape = { names: fields.map(({ name }) => name), readers: fields.map(({ dataTypeID }) => types.getTypeParser(dataTypeID)) };
  }

  handleDataRow({ fields }: { readonly fields: readonly (string | null)[] }): void {
    this.#shape ??= this.#knownShape();
    const { names, readers } = this.#shape;
    const row: Record<string, unknown> = {};
    try {
      for (let i = 0; i < names.length; i++) {
        const text = fields[i]!;
        row[names[i]!] = text === null ? null : readers[i]!(text);
      }
    } catch (error) {
      this.#unreadable ??= { error };
    }
    this.#rows.push(row);
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    const step = this.#steps[this.#at++]!;
    const { name } = step.query;
    if (name !== undefined && !this.#prepared.shapes.has(name)) this.#prepared.shapes.set(name, this.#shape ?? NO_ROWS);
    const [rows, unreadable] = [this.#rows, this.#unreadable];
    this.#rows = [];
    this.#shape = undefined;
    this.#unreadable = undefined;
    if (unreadable !== undefined) step.unreadable(unreadable.error);
    else step.done({ command: commandOf(text), rowCount: countOf(text), rows });
  }

  handleReadyForQuery(): void {
    this.#over();
  }

  handleError(error: unknown): void {
    for (const { query } of this.#steps.slice(this.#at)) {
      if (query.name !== undefined && !this.#prepared.shapes.has(query.name)) this.#prepared.doubtful.add(query.name);
    }
    this.#over({ at: this.#at, error });
  }

  /** Nothing but statements with a text is ever sent. */
  handleEmptyQuery(): void {
    this.handleCommandComplete({ text: '' });
  }

  #knownShape(): Shape {
    return this.#prepared.shapes.get(this.#steps[this.#at]!.query.name!)!;
  }
}

/** pg's connection takes more than its types tell of. */
interface Wire {
  parse(message: { name: string; text: string; types: readonly number[] }): void;
  bind(message: { portal: string; statement: string; values: readonly unknown[]; binary: boolean; valueMapper: (value: unknown) => unknown }): void;
  describe(message: { type: 'P'; name: string }): void;
  execute(message: { portal: string; rows: number }): void;
  close(message: { type: 'S'; name: string }): void;
}

/** Text and bytes as they are. */
function valueMapper(value: unknown): unknown {
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : value;
}

function commandOf(tag: string): string {
  const end = tag.indexOf(' ');
  return end < 0 ? tag : tag.slice(0, end);
}

function countOf(tag: string): number {
  return Number(/\d+$/.exec(tag)?.[0] ?? 0);
}
