/** What the agency sends: a template and the automation that sends it. */
export interface Mailing {
  readonly template: { readonly name: string; readonly draft: object };
  readonly automation: (templateId: string) => { readonly name: string; readonly rule: object };
}

const mjml = (heading: string, body: string, button: string) => `<mjml>
  <mj-head>
    <mj-attributes><mj-all font-family="Helvetica, Arial, sans-serif" /><mj-text font-size="16px" line-height="24px" color="#26323f" /></mj-attributes>
  </mj-head>
  <mj-body background-color="#f2f4f7">
    <mj-section background-color="#12415f"><mj-column><mj-text color="#ffffff" font-size="20px">Harbor Lane Insurance</mj-text></mj-column></mj-section>
    <mj-section background-color="#ffffff">
      <mj-column>
        <mj-text font-size="22px">${heading}</mj-text>
        ${body}
        <mj-button background-color="#12415f" href="https://agency.example/${button.toLowerCase().replaceAll(' ', '-')}">${button}</mj-button>
        <mj-text>{{ person.agent | default: "Your agent" }}<br />Harbor Lane Insurance</mj-text>
      </mj-column>
    </mj-section>
    <mj-section><mj-column><mj-text font-size="12px" color="#6b7785">You get this mail as a customer of Harbor Lane Insurance. <a href="{{ unsubscribe_url }}">Unsubscribe</a></mj-text></mj-column></mj-section>
  </mj-body>
</mjml>`;

const common = { format: 'mjml', text: null, from: { name: 'Harbor Lane Insurance', email: 'hello@agency.example' } } as const;
const email = (templateId: string) => ({ templateId, channel: 'email' });

/** Short waits, so that a demo shows within a minute what takes days in earnest. */
export const mailings: readonly Mailing[] = [
  {
    template: {
      name: 'Claim received',
      draft: {
        ...common,
        subject: 'We have your claim {{ event.claimNumber }}',
        body: mjml('We are on it, {{ person.firstName | default: "dear customer" }}.', '<mj-text>Your claim <b>{{ event.claimNumber }}</b> on policy {{ event.policy }} ({{ event.cause }}) has reached us. An adjuster calls you within one business day.</mj-text>', 'Follow your claim'),
      },
    },
    automation: (templateId) => ({ name: 'Claim opened: confirm at once', rule: { event: 'Claim Opened', when: null, waitMs: 0, still: null, send: email(templateId), reentry: { kind: 'every_time' } } }),
  },
  {
    template: {
      name: 'Quote follow-up',
      draft: {
        ...common,
        subject: 'Your {{ event.line }} quote, {{ person.firstName }}',
        body: mjml(
          'Still thinking about {{ event.line | downcase }} insurance?',
          '<mj-text>{% if event.estimate > 2000 %}We found two ways to bring your estimate of ${{ event.estimate }} down.{% else %}Your estimate of ${{ event.estimate }} a year holds for two more weeks.{% endif %}</mj-text><mj-text>{% if person.policies.size > 1 %}With {{ person.policies.size }} policies you have our bundle discount already.{% else %}A second policy with us saves you up to 15 %.{% endif %}</mj-text>',
          'Finish your quote',
        ),
      },
    },
    automation: (templateId) => ({
      name: 'Quote requested: follow up after 20 seconds',
      rule: {
        event: 'Quote Requested',
        when: { field: 'event.estimate', op: 'gte', value: 200 },
        waitMs: 20_000,
        still: { not: { field: 'person.email', op: 'missing' } },
        send: email(templateId),
        reentry: { kind: 'once_per', periodMs: 86_400_000 },
      },
    }),
  },
  {
    template: {
      name: 'Renewal notice',
      draft: {
        ...common,
        subject: 'Your {{ event.line }} policy renews on {{ event.renewalDate | date: "%B %-d, %Y" }}',
        body: mjml(
          'Time to look at your {{ event.line | downcase }} policy',
          '<mj-text>Policy {{ event.policy }} renews on {{ event.renewalDate | date: "%B %-d, %Y" }} at ${{ event.premium }} a year.</mj-text><mj-text>{% for policy in person.policies %}{{ policy.line }} {{ policy.number }}: ${{ policy.premium }}<br />{% endfor %}</mj-text>',
          'Review your policy',
        ),
      },
    },
    automation: (templateId) => ({
      name: 'Renewal window opened: one notice in 300 days',
      rule: { event: 'Renewal Window Opened', when: null, waitMs: 5_000, still: null, send: email(templateId), reentry: { kind: 'once_per', periodMs: 300 * 86_400_000 } },
    }),
  },
  {
    template: {
      name: 'Document reminder',
      draft: {
        ...common,
        subject: 'Did you find what you were looking for?',
        body: mjml('Questions about your {{ event.document }}?', '<mj-text>Just answer this mail, {{ person.firstName }}; a person reads it.</mj-text>', 'Open my documents'),
      },
    },
    automation: (templateId) => ({
      name: 'Document viewed: ask two days later',
      rule: { event: 'Document Viewed', when: { field: 'person.address.state', op: 'in', value: ['FL', 'TX', 'CA', 'GA'] }, waitMs: 2 * 86_400_000, still: null, send: email(templateId), reentry: { kind: 'once' } },
    }),
  },
];
