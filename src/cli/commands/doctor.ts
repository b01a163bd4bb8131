import type { ResolvedConfig } from '../../config/resolved.ts';
import { diagnose } from '../../worker/doctor/diagnose.ts';
import type { SecretReader } from '../../worker/engines.ts';
import { Exit } from '../exit.ts';
import { type Output, table } from '../output.ts';

/** Shows what was looked at, and the command that mends what is wrong. Exit code 3 when something fails, 0 otherwise. */
export async function doctorCommand(
  config: ResolvedConfig,
  readSecret: SecretReader,
  options: { json: boolean },
  output: Output,
): Promise<Exit> {
  const report = await diagnose(config, readSecret);
  if (options.json) output.out(JSON.stringify(report, null, 2));
  else {
    output.out(
      table(
        ['check', 'verdict', 'found'],
        report.findings.map(({ check, verdict, because }) => [check, verdict, because]),
      ),
    );
    const mends = report.findings.filter(({ mend }) => mend !== undefined);
    if (mends.length > 0)
      output.out(
        `\n${table(
          ['to mend', 'do'],
          mends.map(({ check, mend }) => [check, mend!]),
        )}`,
      );
  }
  return report.verdict === 'fail' ? Exit.UNREACHABLE : Exit.OK;
}
