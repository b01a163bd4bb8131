import { environmentName, isSetByText, type KnownKey } from '../src/config/keys.ts';
import type { Documented } from './doc-comments.ts';

/** A table of Markdown for each first part of the keys; those without a second part stand together and first. */
export function configurationTables(keys: readonly KnownKey[], documented: ReadonlyMap<string, Documented>): string {
  const groups = new Map<string, string[]>([['', []]]);
  for (const { key } of keys) {
    const group = key.includes('.')
      ? key
          .split('.')
          .slice(0, key.startsWith('engines.') ? 2 : 1)
          .join('.')
      : '';
    groups.set(group, [...(groups.get(group) ?? []), rowOf(key, documented)]);
  }
  return [...groups]
    .map(([group, rows]) => {
      const about = group === '' ? '' : sentence(documented.get(group)?.text);
      const title = group === '' ? '' : `### \`${group}\`\n\n${about === '' ? '' : `${about}\n\n`}`;
      return `${title}| key | what it is | default | variable |\n| --- | --- | --- | --- |\n${rows.join('\n')}`;
    })
    .join('\n\n');
}

/** A table of a step's own options. */
export function optionsTable(options: ReadonlyMap<string, Documented>): string {
  const rows = [...options]
    .filter(([key]) => key !== 'verb' && key !== 'step')
    .map(([key, said]) => `| \`${key}\` | ${cell(said.text)} | ${cell(defaultOf(said))} |`);
  return ['| option | what it is | default |', '| --- | --- | --- |', ...rows].join('\n');
}

function rowOf(key: string, documented: ReadonlyMap<string, Documented>): string {
  const said = documented.get(key) ?? { text: '', required: false };
  return `| \`${key}\` | ${cell(said.text)} | ${cell(defaultOf(said))} | ${isSetByText(key) ? `\`${environmentName(key)}\`` : '–'} |`;
}

const defaultOf = ({ required, defaultValue }: Documented): string =>
  required ? 'required' : (defaultValue ?? 'none');
const cell = (text: string): string => text.replaceAll('|', '\\|');
const sentence = (text = ''): string => (text === '' || text.endsWith('.') ? text : `${text}.`);
