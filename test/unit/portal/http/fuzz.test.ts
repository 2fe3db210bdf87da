import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { Api } from '../../../../modules/portal/http/api.ts';
import { seeded } from '../../../support/seed.ts';
import { bearer, type PortalWeb, startPortalWeb } from '../../../support/portal-web.ts';

let web: PortalWeb;
let mine: Record<string, string>;

before(async () => {
  web = await startPortalWeb();
  const { cookie } = await web.setUp();
  mine = bearer(await web.key(cookie));
});
after(() => web.close());

const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('', ' ', '..', '%', '%00', '\0', '__proto__', 'constructor', "' OR 1=1 --", '🙂', 'null', '-1', '1e999', 'true', '[]', '{}', '//evil', '\\', '\ud800', 'x'.repeat(3_000)),
);
const value: fc.Arbitrary<unknown> = fc.oneof({ maxDepth: 3 }, nasty, fc.double(), fc.integer(), fc.boolean(), fc.constant(null), fc.array(nasty, { maxLength: 3 }), fc.dictionary(nasty, nasty, { maxKeys: 3 }));

test('whatever is sent, the answer is never a failure of ours, and a refusal is a problem document', async (context) => {
  const { seed } = seeded((line) => context.diagnostic(line));
  const { routes } = web.composition.part('portal', Api);
  const usable = routes.filter((spec) => spec.access !== 'public' && spec.access !== 'session' && spec.stream === undefined);
  // Fields that a route knows, so that its checks are got past now and then.
  const names = (spec: (typeof usable)[number]) => [...Object.keys(spec.query?.shape ?? {}), ...Object.keys((spec.body as { shape?: object } | undefined)?.shape ?? {}), 'role', '__proto__'];
  const request = fc.constantFrom(...usable).chain((spec) =>
    fc.record({
      spec: fc.constant(spec),
      path: fc.array(nasty, { minLength: 3, maxLength: 3 }),
      query: fc.dictionary(fc.constantFrom(...names(spec)), nasty, { maxKeys: 3 }),
      body: fc.oneof(value, fc.dictionary(fc.constantFrom(...names(spec)), value, { maxKeys: 5 })),
    }),
  );
  await fc.assert(
    fc.asyncProperty(request, async ({ spec, path, query, body }) => {
      let i = 0;
      const at = spec.path.replace(/\{\w+\}/g, () => encodeURIComponent(path[i++]!.toWellFormed()));
      const search = new URLSearchParams(query).toString();
      const reply = await web.ask(`/api/v1${at}${search === '' ? '' : `?${search}`}`, { method: spec.method, headers: { ...mine, 'Content-Type': 'application/json' }, ...(spec.method === 'GET' ? {} : { body: JSON.stringify(body) }) });
      assert.ok(reply.status < 500, `${spec.id}: ${reply.status} ${reply.text}`);
      if (reply.status >= 400) assert.ok(typeof reply.json.reason === 'string' && reply.json.status === reply.status, reply.text);
    }),
    { seed, numRuns: 200 },
  );
});
