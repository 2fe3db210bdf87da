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
 * the writer does not promise is not. Where that cannot be told, e.g. between two patterns, the answer is no.
 */
export function incompatibilities(wanted: Operations, offered: Operations): string[] {
  return Object.entries(wanted).flatMap(([method, mine]) => {
    const theirs = Object.hasOwn(offered, method) ? (offered[method] as OperationSchemas) : undefined;
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
type Go = (writes: unknown, reads: unknown, at: string) => string[];

const LEAST = ['minimum', 'minLength', 'minItems', 'minProperties'] as const;
const MOST = ['maximum', 'maxLength', 'maxItems', 'maxProperties'] as const;
/** What cannot be weighed, only be the same on both sides. */
const SAME = ['pattern', 'format', 'multipleOf', 'patternProperties', 'not'] as const;
const MOST_HOPS = 64;

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
    return [...new Set(this.#compare(this.#writes, this.#reads, '', new Set()))];
  }

  /** `seen` holds the pairs on the way here: one that comes again, in a schema that refers to itself, is being looked at. */
  #compare(writer: unknown, reader: unknown, path: string, seen: ReadonlySet<string>): string[] {
    const step = `${JSON.stringify(writer)}|${JSON.stringify(reader)}`;
    if (seen.has(step)) return [];
    const now = new Set(seen).add(step);
    const go: Go = (a, b, at) => this.#compare(a, b, at, now);
    const writes = resolved(writer, this.#writes);
    const reads = resolved(reader, this.#reads);
    if (acceptsAll(reads) || acceptsNothing(writes)) return [];
    return this.#forms(writes, reads, path, go) ?? this.#plain(writes, reads, path, go);
  }

  /** Takes unions and intersections apart; undefined when neither side is one. */
  #forms(writes: Schema, reads: Schema, path: string, go: Go): string[] | undefined {
    const written = alternatives(writes);
    if (written !== undefined) return written.flatMap((one) => go(one, reads, path));
    const readable = alternatives(reads);
    if (readable !== undefined) return this.#anyOf(readable.map((one) => ({ form: resolved(one, this.#reads), problems: go(writes, one, path) })), writes, path);
    const needed = parts(reads);
    if (needed !== undefined) return needed.flatMap((one) => go(writes, one, path));
    const promised = parts(writes);
    if (promised === undefined) return undefined;
    const [rest, ...others] = promised;
    return this.#anyOf([rest, ...others.map((one) => ({ ...(rest as Schema), ...resolved(one, this.#writes) }))].map((one) => ({ form: reads, problems: go(one, reads, path) })), writes, path);
  }

  /** One that fits will do. Of those that do not, what is said of the one that comes nearest. */
  #anyOf(tries: readonly { readonly form: Schema; readonly problems: string[] }[], writes: Schema, path: string): string[] {
    if (tries.some(({ problems }) => problems.length === 0)) return [];
    const [nearest] = tries.filter(({ form }) => typesFit(writes.type, form.type)).toSorted((a, b) => a.problems.length - b.problems.length);
    return nearest?.problems ?? [this.#say(path, 'one of other forms', describe(writes))];
  }

  #plain(writes: Schema, reads: Schema, path: string, go: Go): string[] {
    const values = valuesOf(writes);
    if (values !== undefined) {
      const refused = values.filter((value) => !takes(reads, value));
      return refused.length === 0 ? [] : [this.#say(path, describe(reads), list(refused))];
    }
    if (acceptsAll(writes)) return [this.#say(path, describe(reads), 'any value')];
    if (enumerated(reads) !== undefined || !typesFit(writes.type, reads.type)) return [this.#say(path, describe(reads), describe(writes))];
    return [...this.#bounds(writes, reads, path), ...this.#object(writes, reads, path, go), ...this.#array(writes, reads, path, go)];
  }

  #object(writes: Schema, reads: Schema, path: string, go: Go): string[] {
    if (reads.type !== 'object') return [];
    const mine = (writes.properties ?? {}) as Schema;
    const theirs = (reads.properties ?? {}) as Schema;
    const promised = new Set((writes.required ?? []) as string[]);
    const needed = ((reads.required ?? []) as string[]).filter((name) => !promised.has(name)).map((name) => this.#say(join(path, name), 'the field', Object.hasOwn(mine, name) ? 'it only sometimes' : 'none'));
    const fields = Object.entries(theirs).flatMap(([name, schema]) => {
      if (Object.hasOwn(mine, name)) return go(mine[name], schema, join(path, name));
      return isOpen(writes) && takes(namesOf(writes), name) ? go(writes.additionalProperties, schema, join(path, name)) : [];
    });
    return [...needed, ...fields, ...this.#others(writes, reads, path, go), ...this.#names(writes, reads, path, go)];
  }

  /** Fields that the reader does not name. */
  #others(writes: Schema, reads: Schema, path: string, go: Go): string[] {
    const rest = reads.additionalProperties;
    if (rest === undefined || rest === true) return [];
    const theirs = (reads.properties ?? {}) as Schema;
    const others = Object.entries((writes.properties ?? {}) as Schema).filter(([name]) => !Object.hasOwn(theirs, name));
    if (isOpen(writes)) others.push(['*', writes.additionalProperties]);
    return others.flatMap(([name, schema]) => (rest === false ? [this.#say(join(path, name), 'no such field', 'it')] : go(schema, rest, join(path, name))));
  }

  #names(writes: Schema, reads: Schema, path: string, go: Go): string[] {
    if (reads.propertyNames === undefined) return [];
    const refused = Object.keys((writes.properties ?? {}) as Schema).filter((name) => !takes(namesOf(reads), name));
    return [...refused.map((name) => this.#say(join(path, name), 'no such field', 'it')), ...(isOpen(writes) ? go(namesOf(writes), namesOf(reads), join(path, '(name)')) : [])];
  }

  #array(writes: Schema, reads: Schema, path: string, go: Go): string[] {
    if (reads.type !== 'array') return [];
    const mine = (writes.prefixItems ?? []) as unknown[];
    const theirs = (reads.prefixItems ?? []) as unknown[];
    const [rest, restRead] = [writes.items ?? {}, reads.items ?? {}];
    const places = Array.from({ length: Math.max(mine.length, theirs.length) }, (_, index) => [mine[index] ?? rest, theirs[index] ?? restRead, `${path}[${index}]`] as const);
    return [...places, [rest, restRead, `${path}[]`] as const].flatMap(([item, read, at]) => {
      if (item === false) return [];
      return read === false ? [this.#say(at, 'no such item', 'it')] : go(item, read, at);
    });
  }

  /** What the reader refuses by size or pattern, the writer must refuse too. */
  #bounds(writes: Schema, reads: Schema, path: string): string[] {
    const limits = [...LEAST, ...MOST, 'exclusiveMinimum', 'exclusiveMaximum'].filter((key) => reads[key] !== undefined && !isAsTight(writes, key, Number(reads[key])));
    const texts = SAME.filter((key) => reads[key] !== undefined && JSON.stringify(reads[key]) !== JSON.stringify(writes[key]));
    return [...limits, ...texts].map((key) => this.#say(path, `${key} ${text(reads[key])}`, writes[key] === undefined ? 'none' : text(writes[key])));
  }

  #say(path: string, needs: string, gets: string): string {
    const field = path === '' ? 'the value' : `field ${path}`;
    return this.#direction === 'wants' ? `${this.#method} wants ${needs === 'the field' ? field : `${needs} in ${field}`} and would be sent ${gets}` : `${this.#method} answers ${gets} where ${needs === 'the field' ? `${field} is needed` : `${field} must be ${needs}`}`;
  }
}

function resolved(schema: unknown, root: unknown): Schema {
  let at = isSchema(schema) ? schema : {};
  for (let hops = 0; typeof at.$ref === 'string' && hops < MOST_HOPS; hops++) {
    const found = at.$ref === '#' ? root : at.$ref.split('/').slice(1).reduce<unknown>((inner, key) => (isSchema(inner) ? inner[key.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined), root);
    at = isSchema(found) ? found : {};
  }
  return at;
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const ANNOTATIONS = new Set(['$schema', '$id', '$defs', 'title', 'description', 'default', 'id', 'readOnly', 'deprecated', 'examples']);

function acceptsAll(schema: Schema): boolean {
  return Object.keys(schema).every((key) => ANNOTATIONS.has(key));
}

function acceptsNothing({ not }: Schema): boolean {
  return isSchema(not) && acceptsAll(not);
}

function alternatives({ anyOf, oneOf, type, ...rest }: Schema): unknown[] | undefined {
  if (Array.isArray(anyOf)) return anyOf;
  if (Array.isArray(oneOf)) return oneOf;
  return Array.isArray(type) ? type.map((one: unknown) => ({ ...rest, type: one })) : undefined;
}

/** What an intersection consists of, its own keywords first. */
function parts({ allOf, ...rest }: Schema): unknown[] | undefined {
  return Array.isArray(allOf) ? [rest, ...(allOf as unknown[])] : undefined;
}

function enumerated(schema: Schema): unknown[] | undefined {
  if (Array.isArray(schema.enum)) return schema.enum;
  return Object.hasOwn(schema, 'const') ? [schema.const] : undefined;
}

/** Every value that a schema allows, where they are few. */
function valuesOf(schema: Schema): unknown[] | undefined {
  if (schema.type === 'boolean') return enumerated(schema) ?? [true, false];
  return enumerated(schema) ?? (schema.type === 'null' ? [null] : undefined);
}

/** Whether a schema that is neither union nor intersection allows this number, text, boolean or null. */
function takes(schema: Schema, value: unknown): boolean {
  const allowed = enumerated(schema);
  if (allowed !== undefined) return allowed.includes(value);
  if (!typesFit(typeName(value), schema.type)) return false;
  const size = typeof value === 'string' ? value.length : undefined;
  const exactly = { minimum: value, maximum: value, minLength: size, maxLength: size };
  if ([...LEAST, ...MOST, 'exclusiveMinimum', 'exclusiveMaximum'].some((key) => schema[key] !== undefined && !isAsTight(exactly, key, Number(schema[key])))) return false;
  if (schema.pattern !== undefined) return new RegExp(String(schema.pattern), 'u').test(String(value));
  return SAME.every((key) => schema[key] === undefined);
}

/** Whether what `writes` allows stays within a limit of the reader's. */
function isAsTight(writes: Schema, key: string, limit: number): boolean {
  const of = (name: string, none: number): number => (writes[name] === undefined ? none : Number(writes[name]));
  switch (key) {
    case 'minimum':
      return Math.max(of('minimum', -Infinity), of('exclusiveMinimum', -Infinity)) >= limit;
    case 'maximum':
      return Math.min(of('maximum', Infinity), of('exclusiveMaximum', Infinity)) <= limit;
    case 'exclusiveMinimum':
      return of('minimum', -Infinity) > limit || of('exclusiveMinimum', -Infinity) >= limit;
    case 'exclusiveMaximum':
      return of('maximum', Infinity) < limit || of('exclusiveMaximum', Infinity) <= limit;
    default:
      return key.startsWith('min') ? of(key, 0) >= limit : of(key, Infinity) <= limit;
  }
}

/** Whether it may hold fields that it does not name. */
function isOpen({ additionalProperties }: Schema): boolean {
  return isSchema(additionalProperties) || additionalProperties === true;
}

function namesOf({ propertyNames }: Schema): Schema {
  return isSchema(propertyNames) ? propertyNames : { type: 'string' };
}

function typesFit(writes: unknown, reads: unknown): boolean {
  return reads === undefined || writes === reads || (writes === 'integer' && reads === 'number');
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Number.isInteger(value)) return 'integer';
  return Array.isArray(value) ? 'array' : typeof value;
}

function describe(schema: Schema): string {
  const values = enumerated(schema);
  if (values !== undefined) return `only ${list(values)}`;
  const limits = [...LEAST, ...MOST, ...SAME].filter((key) => schema[key] !== undefined && !['integer', 'object'].includes(String(schema.type))).map((key) => ` ${key} ${text(schema[key])}`);
  return typeof schema.type === 'string' ? `${schema.type}${limits.join(',')}` : 'another form';
}

function list(values: readonly unknown[]): string {
  return values.slice(0, 8).map((value) => JSON.stringify(value)).join(', ');
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}
