import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { planFacts } from '../../config/plan-facts.ts';
import type { ResolvedConfig } from '../../config/resolved.ts';
import { readScenario } from '../../config/scenario-schema.ts';
import { formatBytes } from '../../policy/sizes.ts';
import { drawing } from '../../policy/simulation/drawing.ts';
import { PoolLender } from '../../policy/simulation/pool-lender.ts';
import { simulate, type Simulated } from '../../policy/simulation/simulate.ts';
import { Exit } from '../exit.ts';
import { table, type Output } from '../output.ts';
import { readJson } from '../read-json.ts';

export interface SimulateOptions {
  /** Path of the scenario. */
  scenario: string;
  json: boolean;
  /** File for a drawing of the bytes lent. */
  svg?: string;
}

/** Steps that are shown, those that waited longest first. */
const SHOWN = 20;

/** Runs a scenario through the pool's own decisions under a virtual clock; no server is asked, nothing runs. */
export function simulateCommand(config: ResolvedConfig, options: SimulateOptions, output: Output): Exit {
  const text = existsSync(options.scenario) ? readFileSync(options.scenario, 'utf8') : undefined;
  const { poolBytes, scratchBytes } = config.hardware;
  const here = {
    limitBytes: poolBytes,
    standingBytes: poolBytes - planFacts(config, undefined).lendableBytes,
    scratchLimitBytes: scratchBytes,
  };
  const scenario = readScenario(readJson(options.scenario, text), here);
  const went = simulate(scenario, new PoolLender(scenario));
  if (options.svg !== undefined) writeFileSync(options.svg, drawing(scenario, went));
  if (options.json) output.out(JSON.stringify({ pool: scenario.pool, ...went }, null, 2));
  else show(went, output);
  return went.refusals + went.starved === 0 ? Exit.OK : Exit.RUN_FAILED;
}

function show(went: Simulated, output: Output): void {
  const { makespanMs, bound, utilisation, waits, passes, refusals, starved, peakLentBytes, demotedBytes } = went;
  const why = bound.ms === bound.heavyMs ? 'heavy steps one by one' : bound.ms === bound.criticalPathMs ? 'the longest run' : 'bytes'; // prettier-ignore
  output.out(`makespan   ${seconds(makespanMs)}, ${(makespanMs / bound.ms).toFixed(2)} x the least there can be (${seconds(bound.ms)}, by ${why})`); // prettier-ignore
  output.out(`lent       ${Math.round(utilisation * 100)} % of bytes × time, at most ${formatBytes(peakLentBytes)}`);
  output.out(`waits      p50 ${seconds(waits.p50)}, p90 ${seconds(waits.p90)}, p99 ${seconds(waits.p99)}, longest ${seconds(waits.max)}`); // prettier-ignore
  output.out(`passes     ${passes} of ${went.steps.length} steps went before one that had asked earlier`);
  if (demotedBytes > 0) output.out(`to disk    ${formatBytes(demotedBytes)} that runs kept in memory, for who could not start otherwise`); // prettier-ignore
  if (refusals > 0) output.out(`refused    ${refusals}`);
  if (starved > 0) output.out(`never served  ${starved}`);
  const waited = ({ askedMs, startedMs }: Simulated['steps'][number]): number => (startedMs ?? Infinity) - askedMs;
  const longest = [...went.steps].sort((a, b) => waited(b) - waited(a)).slice(0, SHOWN);
  output.out('');
  output.out(
    table(
      ['run', 'step', 'weight', 'bytes', 'asked', 'waited', 'because'],
      longest.map((step) => [
        ...[step.run, step.step, step.weight, formatBytes(step.bytes), seconds(step.askedMs)],
        ...[step.refused ? 'refused' : seconds(waited(step)), step.because ?? ''],
      ]),
    ),
  );
  if (went.steps.length > SHOWN)
    output.out(`… and ${went.steps.length - SHOWN} steps that waited less; --json has them all`);
}

const seconds = (ms: number): string => (Number.isFinite(ms) ? `${Math.round(ms / 100) / 10} s` : 'for ever');
