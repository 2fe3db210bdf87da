import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Api } from '../../../../modules/portal/http/api.ts';
import { type PortalWeb, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let document: any;

before(async () => {
  web = await startPortalWeb();
  document = (await web.ask('/api/openapi.json')).json;
});
after(() => web.close());

function* nodes(value: unknown): Generator<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield value as Record<string, unknown>;
  for (const inner of Object.values(value)) yield* nodes(inner);
}

test('every reference leads somewhere in the document', () => {
  let count = 0;
  for (const node of nodes(document)) {
    if (typeof node.$ref !== 'string') continue;
    count++;
    const found = node.$ref.split('/').slice(1).reduce<any>((at, key) => at?.[key], document);
    assert.ok(found !== undefined && node.$ref.startsWith('#/'), node.$ref);
  }
  assert.ok(count > 100);
});

test('every route of the table is in it, once, with its parameters, its body and its answers', () => {
  const { routes } = web.composition.part('portal', Api);
  const ids = new Set(routes.map((spec) => spec.id));
  assert.equal(ids.size, routes.length, 'operation ids are unique');
  assert.ok(routes.length > 40);
  for (const spec of routes) {
    const operation = document.paths[spec.path][spec.method.toLowerCase()];
    assert.equal(operation.operationId, spec.id);
    const inPath = operation.parameters.filter((each: { in: string }) => each.in === 'path').map((each: { name: string; required: boolean }) => (assert.ok(each.required), each.name));
    assert.deepEqual(inPath.sort(), [...spec.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort(), spec.id);
    assert.equal(operation.requestBody !== undefined, spec.body !== undefined, spec.id);
    assert.ok(operation.responses.default && operation.responses[String(spec.status ?? 200)], spec.id);
    if (spec.list === true) assert.ok(['after', 'limit'].every((name) => operation.parameters.some((each: { name: string }) => each.name === name)), spec.id);
  }
  assert.equal(Object.values<object>(document.paths).flatMap((path) => Object.keys(path)).length, routes.length);
});

test('what changes something that is there compares If-Match, what makes something does not', () => {
  const asks = (path: string, method: string) => document.paths[path][method].parameters.some(({ name }: { name: string }) => name === 'If-Match');
  const made = Object.keys(document.paths).filter((path) => document.paths[path].post?.responses['201'] !== undefined);
  assert.deepEqual(made.filter((path) => asks(path, 'post')), []);
  assert.ok(made.includes('/segments') && asks('/segments/{segmentId}', 'put') && asks('/templates/{templateId}/publish', 'post'));
});

test('a file that is sent in is described by its types', () => {
  const { content } = document.paths['/imports'].post.requestBody;
  assert.deepEqual(Object.keys(content), ['text/csv', 'application/x-ndjson', 'application/jsonl']);
  assert.deepEqual(content['text/csv'], { schema: { type: 'string', format: 'binary' } });
});

test('no schema is in draft dress or names another document, and requests are closed', () => {
  const text = JSON.stringify(document);
  for (const foreign of ['$schema', '__shared', '"$id"']) assert.ok(!text.includes(foreign), foreign);
  assert.equal(document.components.schemas.createTemplateRequest.additionalProperties, false);
  assert.equal(document.components.schemas.createTemplateRequest.properties.draft.additionalProperties, false);
});

test('the address is the public one, and everything but the login asks who calls', () => {
  assert.deepEqual(document.servers, [{ url: 'http://127.0.0.1:8080/api/v1' }]);
  const open = web.composition.part('portal', Api).routes.filter((spec) => spec.access === 'public');
  assert.deepEqual(open.map((spec) => spec.id), ['logIn']);
});

test('every route but the login refuses who does not say who calls', async () => {
  for (const spec of web.composition.part('portal', Api).routes) {
    if (spec.access === 'public') continue;
    const path = `/api/v1${spec.path.replace(/\{\w+\}/g, 'x')}`;
    const reply = await web.ask(path, { method: spec.method });
    assert.deepEqual([reply.status, reply.json.reason], [401, 'login_required'], spec.id);
  }
});
