import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cacheAway, notCallable, registryAway } from '../../../../src/app/host/trouble.ts';
import { Fault } from '../../../../src/kernel/fault.ts';

const ADDRESSES = ['10.20.30.40:7072', '[2001:db8::7]:7072', 'mailer.internal.example:7072', '/run/multilith/mailer.sock'];

/** As `Replicas` says it, around what a link says. */
const notConnected = (problem: string) => new Fault('unavailable', `Host mailer cannot be reached: ${problem}`, { reason: 'not_connected', origin: 'unsent' });

test('why a host cannot be reached is told to anybody without a word of what links say', () => {
  const causes: readonly (readonly [(at: string) => string, RegExp])[] = [
    [(at) => `${at}: connect ECONNREFUSED ${at}`, /nobody listens there \(ECONNREFUSED\)\. Start it/],
    [(at) => `${at}: getaddrinfo ENOTFOUND ${at}`, /name is not known/],
    [(at) => `${at}: The other side does not know the secret that is configured here: give both the same.`, /same secret \(MULTILITH_PEER_SECRET\); give both the same/],
    [(at) => `${at} does not accept this host's secret.`, /secret/],
    [(at) => `${at}: unable to verify the first certificate; DNS:${at}`, /certificate/],
    [(at) => `${at}: The other side has fallen silent.`, /it does not answer/],
    [(at) => `${at}: The other side did not introduce itself in time.`, /it does not answer/],
    [(at) => `http://${at} cannot be reached: it has fallen silent.`, /it does not answer/],
    [(at) => `no process of it is known. ${at}`, /no process of it is known\. Start it/],
    [(at) => `host ${at} answers there, mailer was expected.`, /another host answers there/],
    [(at) => `${at}: The host is stopping.`, /it has stopped, or is being started again/],
    [(at) => `${at} says something nobody has thought of`, /the log of this host says why/],
  ];
  for (const at of ADDRESSES)
    for (const [problem, said] of causes) {
      const { detail, plain } = notCallable('notification', 'mailer', notConnected(problem(at)));
      assert.match(plain, said);
      assert.match(plain, /^notification: Host mailer cannot be reached: /);
      assert.ok(!plain.includes(at), plain);
      assert.ok(detail.includes(at), detail);
    }
});

test('what does not fit is told to anybody as it is: it names contracts and fields', () => {
  const misfit = new Fault('unavailable', 'notification on host mailer does not fit: send wants field X.', { reason: 'incompatible', origin: 'unsent' });
  assert.equal(notCallable('notification', 'mailer', misfit).plain, 'notification: notification on host mailer does not fit: send wants field X.');
});

test('a registry or a cache that is away is named to anybody with what to do, and to operators with where it is', () => {
  for (const at of ADDRESSES) {
    for (const trouble of [registryAway('zookeeper', [at]), cacheAway('near', 'redis', [at], false), cacheAway('near', 'memcached', [at], true)]) {
      assert.ok(trouble.detail.includes(at) && !trouble.plain.includes(at), JSON.stringify(trouble));
      assert.match(trouble.plain, /does not answer.*Start it, or correct (registry\.servers|caches\.near)\.$/);
    }
  }
  assert.match(cacheAway('near', 'memcached', ['a:1'], true).plain, /on some of its servers/);
});
