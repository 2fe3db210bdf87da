import { connect, type Socket } from 'node:net';

/*
 * The sender of the ingest bench, a process of its own: posts batches over kept-alive connections, one request at a
 * time on each, and tells how it went. Arguments: port, connections, seconds, events per batch, write key.
 */
const [port, connections, seconds, events, key] = [process.argv[2], process.argv[3], process.argv[4], process.argv[5], process.argv[6]!].map((text, i) => (i < 4 ? Number(text) : text)) as [number, number, number, number, string];

let sent = 0;
const until = performance.now() + seconds * 1_000;
const waits: number[] = [];
let refused = 0;

/** Distinct where it matters (messageId, person), alike where the figure in FIGURES.md is: 20 events, 14.6 KB. */
function body(): string {
  const batch = Array.from({ length: events }, (_, i) => {
    const n = sent * events + i;
    return {
      type: 'track',
      messageId: `node-next-${process.pid}-${n}-7b1d5c0e-1f7e-4a53-b9ad`,
      timestamp: new Date().toISOString(),
      userId: `user-${n % 5_000}`,
      event: 'Policy Renewed',
      properties: { policy: `P-${n}`, premium: 1234.5, renewal: '2026-12-24', lines: ['auto', 'home'], agent: { name: 'Ann', id: 7, office: 'North' }, note: 'x'.repeat(190) },
      context: { library: { name: '@segment/analytics-node', version: '3.1.0' }, ip: '10.0.0.1', userAgent: 'Mozilla/5.0 (X11; Linux x86_64)' },
      integrations: {},
      _metadata: { nodeVersion: '24.0.0', jsRuntime: 'node' },
    };
  });
  sent++;
  return JSON.stringify({ batch, writeKey: key, sentAt: new Date().toISOString() });
}

function requestBytes(): Buffer {
  const text = body();
  const auth = Buffer.from(`${key}:`).toString('base64');
  return Buffer.from(`POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Basic ${auth}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}

function run(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let began = 0;
    let answer = '';
    let next = requestBytes();
    const send = (): void => {
      if (performance.now() >= until) {
        socket.destroy();
        resolve();
        return;
      }
      began = performance.now();
      socket.write(next);
      // Made while the answer is awaited, so that the sender's own work is not in the wait.
      next = requestBytes();
    };
    socket.on('connect', send);
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
      if (!answer.endsWith('}')) return;
      waits.push(performance.now() - began);
      if (!answer.startsWith('HTTP/1.1 200')) refused++;
      answer = '';
      send();
    });
  });
}

const began = performance.now();
await Promise.all(Array.from({ length: connections }, run));
const took = (performance.now() - began) / 1_000;
waits.sort((a, b) => a - b);
const at = (share: number): number => waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] ?? 0;
process.stdout.write(JSON.stringify({ batches: waits.length, refused, perSecond: waits.length / took, p50: at(0.5), p99: at(0.99), longest: at(1) }));
