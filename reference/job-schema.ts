import { z } from 'zod';
import { JOB_SCHEMA } from '../src/config/step-schemas.ts';
import type { Verb } from '../src/contracts/pipeline.ts';
import type { Documented } from './doc-comments.ts';

type Json = { [key: string]: unknown };

/**
 * JSON Schema (draft 7, which editors know best) of a pipeline as data. Types and rules are those that a run is checked with; what a key means and its default come from
 * the contracts' doc comments. Rules across keys and steps are not in it.
 * @param documentedOf doc comments of a verb's keys
 */
export function jobSchema(documentedOf: (verb: Verb) => ReadonlyMap<string, Documented>): Json {
  const schema = z.toJSONSchema(JOB_SCHEMA, { target: 'draft-7', io: 'input' }) as Json;
  for (const step of stepsOf(schema)) {
    const properties = step['properties'] as Record<string, Json>;
    const documented = documentedOf(properties['verb']!['const'] as Verb);
    for (const [key, property] of Object.entries(properties)) {
      const { text, defaultValue } = documented.get(key) ?? { text: '', required: false };
      const said = [text, defaultValue && `Default: ${defaultValue}`].filter(Boolean).join(' ');
      if (said !== '') property['description'] = said;
    }
  }
  return { ...schema, title: 'A Spillway pipeline' };
}

/** Schemas of the verbs. */
export function stepsOf(schema: Json): Json[] {
  const { steps } = schema['properties'] as { steps: { items: { oneOf: Json[] } } };
  return steps.items.oneOf;
}
