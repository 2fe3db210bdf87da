import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { http } from '../../adapters/transport/http/transport.ts';

/*
 * The serving process of the bench `http`: echoes over our transport on one port and over bare node:http on another,
 * tells its parent both, and ends with it.
 */

const identity = { introduction: { host: 'bench', process: String(process.pid), contracts: {} }, offers: [], secret: 'bench' };
const serving = http.serve(identity, { dispatch: async ({ request }) => ({ value: request }) });
const ours = createServer((socket) => serving.accept(socket));

const bare = createHttpServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const text = JSON.stringify(JSON.parse(Buffer.concat(chunks).toString('utf8')));
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.end(text);
  });
});

async function portOf(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

process.on('disconnect', () => process.exit(0));
process.send!({ ours: await portOf(ours), bare: await portOf(bare) });
