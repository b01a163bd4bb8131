import {
  defineQuery,
  log,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { StepReport } from '../contracts/pipeline.ts';
import { countedRows, RUN_REPORT_QUERY, type RunReport, SearchAttribute } from '../contracts/report.ts';
import { formatBytes } from '../policy/sizes.ts';

const keyword = (name: string) => defineSearchAttributeKey(name, SearchAttributeType.KEYWORD);
const keys = {
  pool: keyword(SearchAttribute.POOL),
  state: keyword(SearchAttribute.STATE),
  step: keyword(SearchAttribute.STEP),
};

/** What people see of a run: its details and search attributes in the Temporal UI, and the answer of the report query. */
export class Board {
  readonly #now = new Map<string, string>();
  readonly #reports: StepReport[] = [];
  readonly #warnings: string[] = [];
  #pool = '';
  #attributes = false;

  constructor() {
    setHandler(defineQuery<RunReport>(RUN_REPORT_QUERY), () => this.report(), {
      description: 'What each step was lent and used.',
    });
  }

  /** Called with each plan; attributes are written only where the namespace has them. */
  open(pool: string, searchAttributes: boolean, warnings: string[]): void {
    const first = this.#pool === '';
    this.#pool = pool;
    this.#attributes = searchAttributes;
    for (const warning of warnings) this.warn(warning);
    if (first) this.#upsert({ pool, state: 'running' });
  }

  warn(warning: string): void {
    if (this.#warnings.includes(warning)) return;
    this.#warnings.push(warning);
    log.warn(warning);
    this.#show();
  }

  waiting(step: string, because: string): void {
    this.#now.set(step, `waits: ${because}`);
    this.#upsert({ state: 'waiting', step });
    this.#show();
  }

  running(step: string, what: string): void {
    this.#now.set(step, what);
    this.#upsert({ state: 'running', step });
    this.#show();
  }

  done(report: StepReport): void {
    this.#now.delete(report.step);
    this.#reports.push(report);
    this.#show();
  }

  failed(step: string, message: string): void {
    this.#now.set(step, `failed: ${message.split('\n')[0]}`);
    this.#show();
  }

  /** The run is over: it neither waits nor runs for whoever lists runs by their state. */
  close(): void {
    this.#upsert({ state: 'ended' });
  }

  report(): RunReport {
    return {
      workflowId: workflowInfo().workflowId,
      pool: this.#pool,
      steps: [...this.#reports],
      now: Object.fromEntries(this.#now),
      warnings: [...this.#warnings],
    };
  }

  #upsert(values: Partial<Record<keyof typeof keys, string>>): void {
    if (!this.#attributes) return;
    upsertSearchAttributes(
      Object.entries(values).map(([name, value]) => ({ key: keys[name as keyof typeof keys], value })),
    );
  }

  #show(): void {
    const rows = this.#reports.map(
      (r) =>
        `| ${r.step} | done in ${r.seconds.toFixed(1)} s | ${r.queue} | ${r.rung} ${formatBytes(r.leaseBytes)} | ${formatBytes(r.peakBytes)} | ${r.mode} | ${countedRows(r) ?? ''} |`,
    );
    for (const [step, what] of this.#now) rows.push(`| ${step} | ${what} | | | | | |`);
    const warnings = this.#warnings.map((warning) => `- ${warning}`);
    setCurrentDetails(
      [
        `Pool **${this.#pool}**`,
        '',
        '| step | state | queue | lent | peak | handoff | rows |',
        '|---|---|---|---|---|---|---|',
        ...rows,
        '',
        ...warnings,
      ].join('\n'),
    );
  }
}
