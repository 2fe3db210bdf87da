import type { BenchRow } from './report.ts';

/** What can be measured, by name; each is loaded only when it runs. */
export const areas = {
  inline: async () => (await import('./inline.ts')).benchInline(),
  storage: async () => (await import('./storage.ts')).benchStorage(),
  bus: async () => (await import('./bus.ts')).benchBus(),
  rpc: async () => (await import('./rpc.ts')).benchRpc(),
  http: async () => (await import('./http.ts')).benchHttp(),
  thread: async () => (await import('./thread.ts')).benchThread(),
  cache: async () => (await import('./cache.ts')).benchCache(),
  ingest: async () => (await import('./ingest.ts')).benchIngest(),
  rules: async () => (await import('./rules.ts')).benchRules(),
  agenda: async () => (await import('./agenda.ts')).benchAgenda(),
  lists: async () => (await import('./lists.ts')).benchLists(),
  mail: async () => (await import('./mail.ts')).benchMail(),
  'main-job': async () => (await import('./main-job.ts')).benchMainJob(),
  'main-job-activemq': async () => (await import('./main-job-beside.ts')).benchMainJobOnActiveMq(),
  'main-job-postgres': async () => (await import('./main-job-beside.ts')).benchMainJobOnPostgres(),
  replicas: async () => (await import('./replicas.ts')).benchReplicas(),
  split: async () => (await import('./split.ts')).benchSplit(),
  'storage-move': async () => (await import('./storage-move.ts')).benchStorageMove(),
} as const satisfies Record<string, () => Promise<BenchRow[]>>;
