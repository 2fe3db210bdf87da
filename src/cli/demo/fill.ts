import type { Api } from './api.ts';
import type { Customer } from './agency.ts';
import { mailings } from './content.ts';

/** Most that one request to /v1/batch should carry here; the server takes 500 KB. */
const BATCH = 100;

interface Listed {
  readonly name: string;
}
interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** Customers as events tell of them; telling twice changes nothing. */
export async function fillPeople(api: Api, customers: readonly Customer[], run: string): Promise<void> {
  for (let at = 0; at < customers.length; at += BATCH) {
    await api.send(customers.slice(at, at + BATCH).map(({ userId, traits }) => ({ type: 'identify', messageId: `demo-identify-${run}-${userId}`, userId, traits })));
  }
}

/** Templates and automations; those that are there already, by name, are left as they are. */
export async function fillMailings(api: Api): Promise<void> {
  const templates = await all<Listed & { templateId: string; publishedVersion: number | null }>(api, '/api/v1/templates');
  const automations = await all<Listed>(api, '/api/v1/automations');
  for (const { template, automation } of mailings) {
    const known = templates.find(({ name }) => name === template.name);
    const { templateId } = known ?? (await api.post<{ templateId: string }>('/api/v1/templates', template));
    if (known?.publishedVersion == null) await api.post(`/api/v1/templates/${templateId}/publish`, {});
    const wanted = automation(templateId);
    if (automations.some(({ name }) => name === wanted.name)) continue;
    const made = await api.post<{ automationId: string; enabled: boolean }>('/api/v1/automations', wanted);
    if (!made.enabled) await api.post(`/api/v1/automations/${made.automationId}/enable`, {});
  }
}

async function all<T>(api: Api, path: string): Promise<T[]> {
  const found: T[] = [];
  let after: string | null = null;
  do {
    const page: Page<T> = await api.get(`${path}?limit=100${after === null ? '' : `&after=${encodeURIComponent(after)}`}`);
    found.push(...page.items);
    after = page.next;
  } while (after !== null);
  return found;
}
