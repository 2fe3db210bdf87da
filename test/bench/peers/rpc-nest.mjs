import 'reflect-metadata';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { caller, server } from './rpc-drive.mjs';

async function freePort() {
  const listener = createServer();
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

await server(async () => {
  class Echo {
    async echo(value) {
      return value;
    }
  }
  // Decorators as calls: this file is not compiled.
  MessagePattern('echo')(Echo.prototype, 'echo', Object.getOwnPropertyDescriptor(Echo.prototype, 'echo'));
  Controller()(Echo);
  class App {}
  Module({ controllers: [Echo] })(App);
  const port = await freePort();
  const app = await NestFactory.createMicroservice(App, { transport: Transport.TCP, options: { host: '127.0.0.1', port }, logger: false });
  await app.listen();
  return port;
});

await caller(import.meta.url, async (port) => {
  const client = ClientProxyFactory.create({ transport: Transport.TCP, options: { host: '127.0.0.1', port } });
  await client.connect();
  return (value) => firstValueFrom(client.send('echo', value));
});
