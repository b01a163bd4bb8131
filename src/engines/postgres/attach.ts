import { SpillwayError } from '../../contracts/errors.ts';
import { partitionName, quoteIdentifier, quoteTable, showTable, type TableName } from './identifiers.ts';
import type { LoadPlan, PartitionPlan } from './load-plan.ts';
import { findPartition } from './partition-target.ts';
import { renameIndexes, runAll } from './publish.ts';
import type { Session } from './session.ts';
import { withTargetAlone } from './target-lock.ts';
import { INHERIT_RIGHTS, NAMES_IN_SCHEMA } from './target-sql.ts';

/**
 * Makes the staging table a partition of the target, inside the transaction that publishes, in the place of the one that has its bound. Views, grants, keys and
 * publications are the target's, and stay. Readers of the target are waited for only where a partition is replaced.
 */
export function attach(session: Session, plan: LoadPlan, partition: PartitionPlan, signal: AbortSignal): Promise<void> {
  const { target } = plan;
  const parent = quoteTable(target);
  return withTargetAlone(session, plan, signal, async () => {
    const seen = await findPartition(session, target, partition.bound);
    await session.run(`lock table only ${parent} in ${seen ? 'access exclusive' : 'share update exclusive'} mode`);
    // Looked at again under the lock.
    const old = await findPartition(session, target, partition.bound);
    if (old?.oid !== seen?.oid) return undefined;
    if (old && old.relkind !== 'r')
      throw new SpillwayError('LoadRefused', `Partition ${old.schema}.${old.name} of ${showTable(target)} is partitioned itself, and cannot be replaced as a whole. Load its partitions.`); // prettier-ignore
    const name: TableName = old
      ? { schema: old.schema, table: old.name }
      : { schema: target.schema, table: partitionName(target.table, partition.suffix, await namesIn(session, target.schema)) }; // prettier-ignore
    const columns = plan.table.columns.map((column) => column.name);
    const rights = old
      ? await session.query<{ statement: string }>(INHERIT_RIGHTS, [old.oid, quoteTable(name), columns])
      : [{ statement: `alter table ${quoteTable(name)} owner to ${quoteIdentifier(partition.owner)}` }];
    if (old) {
      await session.run(`alter table ${parent} detach partition ${quoteTable(name)}`);
      await session.run(`drop table ${quoteTable(name)}`);
    }
    await session.run(`alter table ${quoteTable(plan.staging)} set schema ${quoteIdentifier(name.schema)}`);
    const moved = quoteTable({ schema: name.schema, table: plan.staging.table });
    await session.run(`alter table ${moved} rename to ${quoteIdentifier(name.table)}`);
    await renameIndexes(session, plan.attempt, name, plan);
    await runAll(session, rights);
    await session.run(`alter table ${parent} attach partition ${quoteTable(name)} ${partition.boundSql}`);
    await session.run(`alter table ${quoteTable(name)} drop constraint ${quoteIdentifier(partition.check)}`);
    return { done: undefined };
  });
}

const namesIn = async (session: Session, schema: string): Promise<Set<string>> =>
  new Set((await session.query<{ name: string }>(NAMES_IN_SCHEMA, [schema])).map(({ name }) => name));
