import { join } from 'node:path';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { caller, server } from './rpc-drive.mjs';

const definition = loadSync(join(import.meta.dirname, 'rpc-grpc.proto'), { keepCase: true, longs: Number });
const { Bench } = grpc.loadPackageDefinition(definition).bench;

await server(async () => {
  const serving = new grpc.Server();
  serving.addService(Bench.service, { echo: ({ request }, callback) => callback(null, request) });
  return new Promise((resolve, reject) => serving.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port))));
});

await caller(import.meta.url, async (port) => {
  const client = new Bench(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  return (value) => new Promise((resolve, reject) => client.echo(value, (error, answer) => (error ? reject(error) : resolve(answer))));
});
