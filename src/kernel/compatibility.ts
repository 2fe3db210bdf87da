/** JSON Schemas of one operation, as `schemasOf` makes them. */
interface OperationSchemas {
  readonly kind?: unknown;
  readonly input?: unknown;
  readonly output?: unknown;
}
type Operations = Readonly<Record<string, object>>;

/**
 * Why a caller built against `wanted` cannot call a callee that offers `offered`, in words that name the field; empty
 * when it can. Requests are written by the caller and read by the callee, answers the other way round: whoever reads
 * must understand all that the other may write. A field that the reader does not know is fine, one that it needs and
 * the writer does not promise is not.
 */
export function incompatibilities(wanted: Operations, offered: Operations): string[] {
  return Object.entries(wanted).flatMap(([method, mine]) => {
    const theirs = offered[method] as OperationSchemas | undefined;
    const { kind, input, output } = mine as OperationSchemas;
    if (theirs === undefined) return [`has no operation ${method}`];
    if (theirs.kind !== kind) return [`${method} is a ${String(theirs.kind)} there and a ${String(kind)} here`];
    return [
      ...new Comparison(input, theirs.input, 'wants', method).problems(),
      ...new Comparison(theirs.output, output, 'answers', method).problems(),
    ];
  });
}

interface Schema {
  readonly [key: string]: unknown;
}

const LEAST = ['minimum', 'exclusiveMinimum', 'minLength', 'minItems', 'minProperties'] as const;
const MOST = ['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems', 'maxProperties'] as const;
/** Past this depth schemas that refer to themselves have been seen from all sides. */
const DEPTH = 64;

/** Whether everything that `writes` allows is understood by `reads`. */
class Comparison {
  readonly #writes: unknown;
  readonly #reads: unknown;
  /** `wants`: the callee reads, a request. `answers`: the caller reads, an answer. */
  readonly #direction: 'wants' | 'answers';
  readonly #method: string;

  constructor(writes: unknown, reads: unknown, direction: 'wants' | 'answers', method: string) {
    this.#writes = writes;
    this.#reads = reads;
    this.#direction = direction;
    this.#method = method;
  }

  problems(): string[] {
    return this.#compare(this.#writes, this.#reads, '', new Set(), 0);
  }

  #compare(writer: unknown, reader: unknown, path: string, seen: Set<string>, depth: number): string[] {
    const writes = this.#resolve(writer, this.#writes);
    const reads = this.#resolve(reader, this.#reads);
    if (acceptsAll(reads) || depth > DEPTH) return [];
    const step = `${JSON.stringify(writer)}|${JSON.stringify(reader)}`;
    if (step.length > 2 && seen.has(step)) return [];
    const now = new Set(seen).add(step);
    const go = (a: unknown, b: unknown, at: string) => this.#compare(a, b, at, now, depth + 1);

    const written = alternatives(writes);
    if (written !== undefined) return written.flatMap((one) => go(one, reads, path));
    const readable = alternatives(reads);
    if (readable !== undefined) return readable.some((one) => go(writes, one, path).length === 0) ? [] : this.#closest(readable.map((one) => go(writes, one, path)), path, writes);
    if (Array.isArray(reads.allOf)) return reads.allOf.flatMap((one) => go(writes, one, path));

    const values = valuesOf(writes);
    const allowed = valuesOf(reads);
    if (allowed !== undefined) {
      if (values === undefined) return [this.#say(path, `only ${list(allowed)}`, 'any value')];
      const unknown = values.filter((value) => !allowed.some((one) => JSON.stringify(one) === JSON.stringify(value)));
      return unknown.length === 0 ? [] : [this.#say(path, `only ${list(allowed)}`, list(unknown))];
    }
    if (values !== undefined && writes.type === undefined) return values.flatMap((value) => go({ type: typeName(value) }, reads, path));
    if (acceptsAll(writes)) return [this.#say(path, describe(reads), 'any value')];
    if (!typesFit(writes.type, reads.type)) return [this.#say(path, describe(reads), describe(writes))];
    return [...this.#bounds(writes, reads, path, values !== undefined), ...this.#object(writes, reads, path, go), ...this.#array(writes, reads, path, go)];
  }

  #object(writes: Schema, reads: Schema, path: string, go: (a: unknown, b: unknown, at: string) => string[]): string[] {
    if (reads.type !== 'object') return [];
    const mine = (writes.properties ?? {}) as Schema;
    const theirs = (reads.properties ?? {}) as Schema;
    const promised = new Set((writes.required ?? []) as string[]);
    const needed = ((reads.required ?? []) as string[]).filter((name) => !promised.has(name)).map((name) => this.#say(join(path, name), 'the field', Object.hasOwn(mine, name) ? 'it only sometimes' : 'none'));
    const fields = Object.entries(theirs).flatMap(([name, schema]) => {
      if (Object.hasOwn(mine, name)) return go(mine[name], schema, join(path, name));
      return isSchema(writes.additionalProperties) ? go(writes.additionalProperties, schema, join(path, name)) : [];
    });
    const strict = reads.additionalProperties === false ? Object.keys(mine).filter((name) => !Object.hasOwn(theirs, name)).map((name) => this.#say(join(path, name), 'no such field', 'it')) : [];
    const free = isSchema(reads.additionalProperties) && Object.keys(theirs).length === 0 ? [...Object.entries(mine).map(([name, schema]) => [schema, join(path, name)] as const), ...(isSchema(writes.additionalProperties) ? [[writes.additionalProperties, join(path, '*')] as const] : [])].flatMap(([schema, at]) => go(schema, reads.additionalProperties, at)) : [];
    return [...needed, ...fields, ...strict, ...free];
  }

  #array(writes: Schema, reads: Schema, path: string, go: (a: unknown, b: unknown, at: string) => string[]): string[] {
    if (reads.type !== 'array') return [];
    const theirs = reads.prefixItems as unknown[] | undefined;
    if (theirs !== undefined) return theirs.flatMap((schema, index) => go((writes.prefixItems as unknown[] | undefined)?.[index] ?? writes.items ?? {}, schema, `${path}[${index}]`));
    return reads.items === undefined ? [] : go(writes.items ?? {}, reads.items, `${path}[]`);
  }

  /** What the reader refuses by size or pattern, the writer must refuse too. */
  #bounds(writes: Schema, reads: Schema, path: string, isEnumerated: boolean): string[] {
    if (isEnumerated) return [];
    const least = LEAST.filter((key) => reads[key] !== undefined && !(Number(writes[key] ?? -Infinity) >= Number(reads[key])));
    const most = MOST.filter((key) => reads[key] !== undefined && !(Number(writes[key] ?? Infinity) <= Number(reads[key])));
    const texts = ['pattern', 'format'].filter((key) => reads[key] !== undefined && reads[key] !== writes[key]);
    return [...least, ...most, ...texts].map((key) => this.#say(path, `${key} ${String(reads[key])}`, writes[key] === undefined ? 'none' : String(writes[key])));
  }

  /** Of the alternatives that did not fit, what is said of the one that came nearest. */
  #closest(tries: readonly string[][], path: string, writes: Schema): string[] {
    const nearest = tries.toSorted((a, b) => a.length - b.length)[0];
    return nearest !== undefined && tries.length === 1 ? nearest : [this.#say(path, 'one of other forms', describe(writes))];
  }

  #resolve(schema: unknown, root: unknown): Schema {
    let at = isSchema(schema) ? schema : {};
    for (let hops = 0; typeof at.$ref === 'string' && hops < DEPTH; hops++) {
      const found = at.$ref === '#' ? root : at.$ref.split('/').slice(1).reduce<unknown>((inner, key) => (isSchema(inner) ? inner[key.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined), root);
      at = isSchema(found) ? found : {};
    }
    return at;
  }

  #say(path: string, needs: string, gets: string): string {
    const field = path === '' ? 'the value' : `field ${path}`;
    return this.#direction === 'wants' ? `${this.#method} wants ${needs === 'the field' ? field : `${needs} in ${field}`} and would be sent ${gets}` : `${this.#method} answers ${gets} where ${needs === 'the field' ? `${field} is needed` : `${field} must be ${needs}`}`;
  }
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const ANNOTATIONS = new Set(['$schema', '$id', '$defs', 'title', 'description', 'default', 'id']);

function acceptsAll(schema: Schema): boolean {
  return Object.keys(schema).every((key) => ANNOTATIONS.has(key));
}

function alternatives({ anyOf, oneOf, type, ...rest }: Schema): unknown[] | undefined {
  if (Array.isArray(anyOf)) return anyOf;
  if (Array.isArray(oneOf)) return oneOf;
  return Array.isArray(type) ? type.map((one: unknown) => ({ ...rest, type: one })) : undefined;
}

function valuesOf(schema: Schema): unknown[] | undefined {
  if (Array.isArray(schema.enum)) return schema.enum;
  return Object.hasOwn(schema, 'const') ? [schema.const] : undefined;
}

function typesFit(writes: unknown, reads: unknown): boolean {
  return reads === undefined || writes === reads || (writes === 'integer' && reads === 'number');
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value;
}

function describe(schema: Schema): string {
  const values = valuesOf(schema);
  if (values !== undefined) return list(values);
  return typeof schema.type === 'string' ? schema.type : 'another form';
}

function list(values: readonly unknown[]): string {
  return values.slice(0, 8).map((value) => JSON.stringify(value)).join(', ');
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}
