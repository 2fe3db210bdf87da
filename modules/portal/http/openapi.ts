import { setImmediate as breath } from 'node:timers/promises';
import { z } from 'zod';
import { AnyJson } from '../../../src/kernel/json-schema.ts';
import { Delivery } from '../../notification/contract.ts';
import { Automation, AutomationRule, Condition } from '../../trigger/contract.ts';
import { Person, TemplateContent } from '../contract.ts';
import { SegmentCondition } from '../segments/segments.ts';
import { type AnyRoute, isIdempotent } from './route.ts';

type JsonObject = Record<string, unknown>;

/** Schemas that keep a name of their own in the document. */
const NAMED: Readonly<Record<string, z.ZodType>> = { Json: AnyJson, Person, TemplateContent, Delivery, Automation, AutomationRule, Condition, SegmentCondition };

const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    reason: z.string(),
    callId: z.string(),
    errors: z.array(z.object({ in: z.string(), field: z.string(), kind: z.string(), problem: z.string(), remedy: z.string() })).optional(),
    details: z.record(z.string(), AnyJson).optional(),
  })
  .describe('RFC 9457. Act on `reason`; `detail` is for people.');

/** The OpenAPI 3.1 document of the routes. Takes some 50 ms of a processor, in parts. */
export async function openApiOf(routes: readonly AnyRoute[], publicUrl: string): Promise<JsonObject> {
  const paths: Record<string, JsonObject> = {};
  for (const spec of routes) (paths[spec.path] ??= {})[spec.method.toLowerCase()] = operationOf(spec);
  return {
    openapi: '3.1.0',
    info: {
      title: 'Multilith',
      version: '1',
      description:
        'Lists answer `items` and `next`; send `next` back as `after` for what follows. Times are milliseconds since 1970. ' +
        'Programs send `Authorization: Bearer ml_…`. Every answer to a wrong request is a problem document (RFC 9457).',
    },
    servers: [{ url: `${publicUrl}/api/v1` }],
    tags: [...new Set(routes.map((spec) => spec.tag))].map((name) => ({ name })),
    paths,
    components: {
      schemas: await schemasOf(routes),
      responses: { Problem: { description: 'A problem.', content: { 'application/problem+json': { schema: ref('Problem') } } } },
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'An API key, `ml_…`, with the scope that the operation names.' },
        session: { type: 'apiKey', in: 'cookie', name: 'session', description: 'The cookie that a login sets; `__Host-session` over https.' },
      },
    },
  };
}

function operationOf(spec: AnyRoute): JsonObject {
  const security = spec.access === 'public' ? [] : spec.access === 'session' ? [{ session: [] }] : [{ apiKey: [spec.access] }, { session: [] }];
  const status = String(spec.status ?? 200);
  const type = spec.stream ?? 'application/json';
  return {
    operationId: spec.id,
    tags: [spec.tag],
    summary: spec.summary,
    security,
    parameters: parametersOf(spec),
    ...requestOf(spec),
    responses: {
      [status]: { description: 'Done.', ...headersOf(spec), content: { [type]: { schema: ref(`${spec.id}Answer`) } } },
      default: { $ref: '#/components/responses/Problem' },
    },
    ...(spec.faults === undefined ? {} : { 'x-reasons': spec.faults }),
  };
}

function requestOf({ id, body, upload }: AnyRoute): JsonObject {
  const types = upload?.types.map((type) => [type, { schema: { type: 'string', format: 'binary' } }]);
  const content = types === undefined ? body && { 'application/json': { schema: ref(`${id}Request`) } } : Object.fromEntries(types);
  return content === undefined ? {} : { requestBody: { required: true, content } };
}

function headersOf(spec: AnyRoute): JsonObject {
  return spec.ifMatch === true ? { headers: { ETag: { schema: { type: 'string' } } } } : {};
}

function parametersOf(spec: AnyRoute): JsonObject[] {
  const parameters = [...fieldsOf(spec.params, 'path'), ...fieldsOf(spec.query, 'query')];
  if (spec.access !== 'public' && spec.stream === undefined) parameters.push(header('Multilith-Workspace', 'With a session: which workspace; the first one joined without it.'));
  if (isIdempotent(spec)) parameters.push(header('Idempotency-Key', 'The same key with the same request has one effect and one answer for 24 hours.', { minLength: 1, maxLength: 255 }));
  if (spec.ifMatch === true && spec.method !== 'GET' && spec.status !== 201) parameters.push(header('If-Match', 'The ETag that the change was made on; 412 when there is another one now.'));
  return parameters;
}

function header(name: string, description: string, limits: JsonObject = {}): JsonObject {
  return { name, in: 'header', required: false, description, schema: { type: 'string', ...limits } };
}

function fieldsOf(schema: z.ZodObject | undefined, place: 'path' | 'query'): JsonObject[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' }) as { properties?: JsonObject; required?: string[] };
  return Object.entries(properties).map(([name, property]) => ({ name, in: place, required: required.includes(name), schema: property }));
}

async function schemasOf(routes: readonly AnyRoute[]): Promise<JsonObject> {
  const requests = z.registry<{ id: string }>();
  const answers = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries({ ...NAMED, Problem })) answers.add(schema, { id });
  for (const spec of routes) {
    // A schema that two operations share keeps the first one's name; the second refers to it.
    const body = bodyOf(spec);
    if (body !== undefined && !requests.has(body)) requests.add(body, { id: `${spec.id}Request` });
    if (!answers.has(spec.answer)) answers.add(spec.answer, { id: `${spec.id}Answer` });
  }
  await breath();
  const ofAnswers = resolved(answers, 'Answers', false);
  await breath();
  const schemas = { ...ofAnswers, ...resolved(requests, 'Requests', true) };
  for (const spec of routes) {
    const body = bodyOf(spec);
    if (body !== undefined) schemas[`${spec.id}Request`] ??= ref(requests.get(body)!.id);
    schemas[`${spec.id}Answer`] ??= ref(answers.get(spec.answer)!.id);
  }
  return schemas;
}

/** Of JSON: a file has no schema. */
function bodyOf({ body, upload }: AnyRoute): z.ZodType | undefined {
  return upload === undefined ? body : undefined;
}

/** The registry's schemas with their references inside this document. `closed`: unknown fields are refused. */
function resolved(registry: z.core.$ZodRegistry<{ id: string }>, shared: string, closed: boolean): JsonObject {
  const { schemas } = z.toJSONSchema(registry, {
    io: 'input',
    uri: (id) => `#/components/schemas/${id}`,
    override: ({ zodSchema, jsonSchema }) => {
      if (closed && zodSchema._zod.def.type === 'object') jsonSchema.additionalProperties = false;
    },
  });
  const { __shared, ...named } = schemas as Record<string, JsonObject>;
  for (const [name, schema] of Object.entries((__shared?.$defs ?? {}) as Record<string, JsonObject>)) named[`${shared}${name}`] = schema;
  for (const schema of Object.values(named)) {
    delete schema.$schema;
    delete schema.$id;
  }
  const text = JSON.stringify(named).replaceAll('#/components/schemas/__shared#/$defs/', `#/components/schemas/${shared}`);
  return JSON.parse(text) as JsonObject;
}

function ref(id: string): JsonObject {
  return { $ref: `#/components/schemas/${id}` };
}
