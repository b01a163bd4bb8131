import { ApplicationFailure } from '@temporalio/workflow';
import type { HandoffRef } from '../contracts/handoff.ts';
import type { PlannedStep } from '../contracts/plan.ts';
import { inputsOfQuery } from '../policy/fuse.ts';
import { inputsOf } from '../policy/graph.ts';
import { readStepFailure } from './failures.ts';

/** Which of a step's inputs a failure says are gone; undefined for any other failure. What does not say is about rows that were in memory. */
export function lostInputs(
  error: unknown,
): ((step: PlannedStep, source: string, ref: HandoffRef | undefined) => boolean) | undefined {
  if (!(error instanceof ApplicationFailure) || error.type !== 'HandoffLost') return undefined;
  const lost = readStepFailure(error.cause)?.details?.lost;
  return (step, source, ref) =>
    lost ? inputsOfStep(step).some(([table, of]) => of === source && lost.includes(table)) : inMemory(ref);
}

/** What a step's statement reads, with those whose rows go into it, and those that are computed beside it. */
export const inputsOfStep = ({ fused, further = [], spec }: PlannedStep): [name: string, source: string][] =>
  fused ? inputsOfQuery(fused, ...further.map(({ query }) => query)) : inputsOf(spec);

/** A step that shared a container, in one of its own. */
export function alone({ further: _others, madeWith: _first, ...step }: PlannedStep): PlannedStep {
  return { ...step, needs: [...new Set(inputsOfStep(step).map(([, source]) => source))] };
}

export const inMemory = (ref: HandoffRef | undefined): boolean => ref?.parts.some((part) => part.inMemory) ?? false;
