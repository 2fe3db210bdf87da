import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { AgendaEntry, Automation, AutomationRule, trigger } from '../../../trigger/contract.ts';
import type { Trigger } from '../../../trigger/contract.ts';
import { type AnyRoute, route, type RouteGroup } from '../route.ts';
import { Id, listOf, page } from './shapes.ts';

const Name = z.string().trim().min(1).max(200);
const Version = z.object({ version: z.int().positive(), rule: AutomationRule, createdAt: z.int() });
const Counts = z.object({ entered: z.int(), waiting: z.int(), sent: z.int(), left: z.record(z.string(), z.int()), turnedAway: z.int() });

@injectable()
export class AutomationRoutes implements RouteGroup {
  readonly routes: readonly AnyRoute[];
  readonly #trigger: Trigger;

  constructor(@inject(trigger.id) rules: Trigger) {
    this.#trigger = rules;
    this.routes = [...this.#saving(), ...this.#reading()];
  }

  #saving(): AnyRoute[] {
    const tag = 'Automations';
    const params = z.strictObject({ automationId: Id });
    const body = z.strictObject({ name: Name, rule: AutomationRule });
    const setEnabled = (enabled: boolean) =>
      route({
        id: enabled ? 'enableAutomation' : 'disableAutomation',
        method: 'POST',
        path: `/automations/{automationId}/${enabled ? 'enable' : 'disable'}`,
        tag,
        summary: enabled ? 'Turn on: starts with the next event.' : 'Turn off: also ends what waits.',
        access: 'write',
        params,
        answer: Automation,
        faults: ['automation_not_found'],
        handle: async ({ params: { automationId }, call }) => ({ body: await this.#trigger.setAutomationEnabled({ automationId, enabled }, call) }),
      });
    return [
      route({
        id: 'createAutomation',
        method: 'POST',
        path: '/automations',
        tag,
        summary: 'Make an automation. It is on from the start when the answer says `enabled`.',
        access: 'write',
        body,
        answer: Automation,
        status: 201,
        ifMatch: true,
        faults: ['rule_invalid', 'too_many_automations'],
        handle: async ({ body: { name, rule }, call }) => {
          const made = await this.#trigger.saveAutomation({ name, rule }, call);
          return { body: made, etag: made.version, location: `/automations/${made.automationId}`, targetId: made.automationId };
        },
      }),
      route({
        id: 'saveAutomation',
        method: 'PUT',
        path: '/automations/{automationId}',
        tag,
        summary: 'Replace name and rule. Runs under way keep the version that they began with.',
        access: 'write',
        params,
        body,
        answer: Automation,
        ifMatch: true,
        faults: ['automation_not_found', 'rule_invalid', 'version_changed'],
        handle: async ({ params: { automationId }, body: { name, rule }, ifMatch, call }) => {
          const saved = await this.#trigger.saveAutomation({ automationId, name, rule, ...(ifMatch === undefined ? {} : { ifVersion: ifMatch }) }, call);
          return { body: saved, etag: saved.version };
        },
      }),
      setEnabled(true),
      setEnabled(false),
    ];
  }

  #reading(): AnyRoute[] {
    const tag = 'Automations';
    const params = z.strictObject({ automationId: Id });
    return [
      route({
        id: 'listAutomations',
        method: 'GET',
        path: '/automations',
        tag,
        summary: 'Automations, newest first.',
        access: 'read',
        list: true,
        query: z.strictObject(page),
        answer: listOf(Automation),
        handle: async ({ query, call }) => ({ body: await this.#trigger.listAutomations(query, call) }),
      }),
      route({
        id: 'getAutomation',
        method: 'GET',
        path: '/automations/{automationId}',
        tag,
        summary: 'One automation.',
        access: 'read',
        params,
        answer: Automation,
        ifMatch: true,
        faults: ['automation_not_found'],
        handle: async ({ params: { automationId }, call }) => {
          const found = await this.#trigger.getAutomation({ automationId }, call);
          return { body: found, etag: found.version };
        },
      }),
      route({
        id: 'listAutomationVersions',
        method: 'GET',
        path: '/automations/{automationId}/versions',
        tag,
        summary: 'Every rule that the automation has had, newest first.',
        access: 'read',
        params,
        answer: z.object({ items: z.array(Version) }),
        faults: ['automation_not_found'],
        handle: async ({ params: { automationId }, call }) => ({ body: await this.#trigger.listAutomationVersions({ automationId }, call) }),
      }),
      route({
        id: 'countRuns',
        method: 'GET',
        path: '/automations/{automationId}/counts',
        tag,
        summary: 'What became of everybody who entered: entered = waiting + sent + the sum of left.',
        access: 'read',
        params,
        answer: Counts,
        faults: ['automation_not_found'],
        handle: async ({ params: { automationId }, call }) => ({ body: await this.#trigger.countRuns({ automationId }, call) }),
      }),
      route({
        id: 'listAgenda',
        method: 'GET',
        path: '/agenda',
        tag,
        summary: 'Everything that will happen, soonest first.',
        access: 'read',
        list: true,
        query: z.strictObject({ ...page, automationId: Id.optional(), personId: Id.optional() }),
        answer: listOf(AgendaEntry),
        handle: async ({ query, call }) => ({ body: await this.#trigger.listAgenda(query, call) }),
      }),
    ];
  }
}
