import type { Contract, Descriptor } from '../../kernel/contract.ts';
import { jsonSchemaOf, sortKeys } from '../../kernel/json-schema.ts';
import type { MessageDefinition } from '../../kernel/message.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import { asyncApiOf } from './asyncapi.ts';
import { byName, flowsOf } from './flows.ts';
import type { ForPrograms } from './programs.ts';

/** Ends every name in `messages/` and `operations/`. */
export const SCHEMA_FILE = '.schema.json';
export const SCHEMA_FOLDERS = ['messages', 'operations'] as const;

/**
 * What other programs need to know of these modules, by path: `asyncapi.json`, `contracts.json`, and a JSON Schema (draft
 * 2020-12) for each message's payload and each operation's request and answer. The same bytes for the same modules.
 */
export function contractFiles(modules: readonly ModuleDefinition[], programs?: ForPrograms): ReadonlyMap<string, string> {
  const flows = flowsOf(modules);
  const contracts = modules.map(({ contract }) => contract).sort(byName);
  const files: [string, object][] = [
    ['asyncapi.json', asyncApiOf(flows, programs)],
    ['contracts.json', Object.fromEntries(contracts.map((contract) => [contract.name, summaryOf(contract)]))],
    ...flows.map(({ message }): [string, object] => [messageFile(message), payloadSchema(message)]),
    ...contracts.flatMap(({ name, operations }) => Object.entries(operations).flatMap(([method, descriptor]) => operationSchemas(name, method, descriptor))),
  ];
  return new Map(files.sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, value]) => [path, `${JSON.stringify(sortKeys(value), undefined, 2)}\n`]));
}

function summaryOf({ name, hash, operations }: Contract<unknown>): object {
  const described = Object.entries(operations).map(([method, { kind, timeoutMs, faults = [], ...rest }]) => {
    const ttlMs = 'cache' in rest ? (rest.cache?.ttlMs ?? null) : null;
    return [method, { kind, timeoutMs, faults: [...faults].sort(), cachedForMs: ttlMs, request: operationFile(name, method, 'request'), answer: operationFile(name, method, 'answer') }];
  });
  return { hash, operations: Object.fromEntries(described) };
}

function operationSchemas(contract: string, method: string, { input, output }: Descriptor): [string, object][] {
  return [
    [operationFile(contract, method, 'request'), { title: `${contract}.${method} request`, ...jsonSchemaOf(input) }],
    [operationFile(contract, method, 'answer'), { title: `${contract}.${method} answer`, ...jsonSchemaOf(output) }],
  ];
}

/** Fields that hold personal data carry `x-personal`. */
function payloadSchema({ name, schema, settings }: MessageDefinition<any>): object {
  const { properties = {}, ...rest } = jsonSchemaOf(schema) as { properties?: Record<string, object> };
  const marked = Object.entries(properties).map(([field, inner]) => [field, settings.personal?.includes(field) === true ? { ...inner, 'x-personal': true } : inner]);
  return { title: name, ...rest, properties: Object.fromEntries(marked) };
}

function messageFile({ name }: MessageDefinition<any>): string {
  return `messages/${name}${SCHEMA_FILE}`;
}

function operationFile(contract: string, method: string, side: 'request' | 'answer'): string {
  return `operations/${contract}.${method}.${side}${SCHEMA_FILE}`;
}
