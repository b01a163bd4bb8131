import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { environmentName, flagName, KNOWN_KEYS } from '../config/keys.ts';
import { loadConfig, type LoadOptions } from '../config/load-config.ts';
import type { ResolvedConfig } from '../config/resolved.ts';
import { readSecret } from '../config/secrets.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { packageVersion } from '../provision/package-root.ts';
import { devCommand } from './commands/dev.ts';
import { doctorCommand } from './commands/doctor.ts';
import { downCommand } from './commands/down.ts';
import { initCommand } from './commands/init.ts';
import { planCommand } from './commands/plan.ts';
import { poolCommand } from './commands/pool.ts';
import { renderCommand } from './commands/render.ts';
import { runCommand } from './commands/run.ts';
import { startCommand } from './commands/start.ts';
import { statusCommand } from './commands/status.ts';
import { upCommand } from './commands/up.ts';
import { workerCommand } from './commands/worker.ts';
import { Exit, exitCodeOf } from './exit.ts';
import { type Output, terminal } from './output.ts';

type Flags = Record<string, string | boolean | undefined>;

/** Runs one command line; answers its exit code. */
export async function main(argv: readonly string[], output: Output = terminal): Promise<Exit> {
  let exit: Exit = Exit.OK;
  const interrupt = new AbortController();
  const program = buildProgram(argv, output, interrupt, (code) => (exit = code));
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? Exit.OK : Exit.BAD_INPUT;
    output.err(messageOf(error));
    return exitCodeOf(error);
  }
}

function messageOf(error: unknown): string {
  if (error instanceof SpillwayError) return `spillway: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function buildProgram(
  argv: readonly string[],
  output: Output,
  interrupt: AbortController,
  done: (exit: Exit) => void,
): Command {
  const program = new Command('spillway')
    .description('ELT workflows as code on Temporal, with a server’s memory lent step by step.')
    .version(packageVersion())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.out(text.trimEnd()),
      writeErr: (text) => output.err(text.trimEnd()),
    });

  const command = (
    name: string,
    description: string,
    act: (config: ResolvedConfig, flags: Flags, args: string[]) => Promise<Exit> | Exit,
    machine: NonNullable<LoadOptions['machine']> = 'here',
  ): Command => {
    const built = program.command(name).description(description).exitOverride();
    built.option('--config <file>', 'configuration file (default: the nearest spillway.config.*)');
    for (const { key } of KNOWN_KEYS) {
      const flag = key.replace('.*', '.default');
      built.addOption(
        new Option(`${flagName(flag)} <value>`, `sets ${flag}; also ${environmentName(flag)}`).hideHelp(),
      );
    }
    return built.action(async (...given: unknown[]) => {
      const self = given.at(-1) as Command;
      const flags = self.opts<Flags>();
      done(await act(await configOf(flags, machine), flags, self.args));
    });
  };

  command('up', 'find, fetch and start Temporal, Trino, PostgreSQL and the DataFusion image', (config, flags) =>
    upCommand(
      config,
      secretReader(config),
      { systemPackages: flags['systemPackages'] !== false, json: flags['json'] === true },
      output,
    ),
  )
    .option('--no-system-packages', 'never install system packages')
    .option('--json', 'answer as JSON');
  command('down', 'stop what `spillway up` started', (config) => downCommand(config, output));
  command('status', 'where everything is, and whether it answers', (config, flags) =>
    statusCommand(config, { json: flags['json'] === true }, output),
  ).option('--json', 'answer as JSON');
  command('doctor', 'check this host and every part, and say what mends what is wrong', (config, flags) =>
    doctorCommand(config, secretReader(config), { json: flags['json'] === true }, output),
  ).option('--json', 'answer as JSON');
  command('worker', 'run steps and workflows of this host', (config) =>
    workerCommand(config, secretReader(config), output),
  );
  command('run <what>', 'start a job file or a workflow, and follow it to its end', (config, flags, [what]) => {
    process.once('SIGINT', () => interrupt.abort());
    return runCommand(
      config,
      {
        what: what!,
        ...inputOf(flags),
        ...(typeof flags['workflowId'] === 'string' ? { workflowId: flags['workflowId'] } : {}),
        json: flags['json'] === true,
      },
      output,
      interrupt.signal,
    );
  })
    .option('--input <json>', 'input of a workflow')
    .option('--workflow-id <id>', 'workflow id (default: the name and a random part)')
    .option('--json', 'answer as JSON');
  command(
    'plan <what>',
    'what a job file or a workflow would be lent and why, with its statements; nothing runs',
    (config, flags, [what]) =>
      planCommand(
        config,
        {
          what: what!,
          ...inputOf(flags),
          json: flags['json'] === true,
        },
        output,
      ),
  )
    .option('--input <json>', 'input of a workflow')
    .option('--json', 'answer as JSON');
  command('pool', 'who holds and who waits, in bytes', (config, flags) =>
    poolCommand(config, { json: flags['json'] === true }, output),
  ).option('--json', 'answer as JSON');
  command(
    'render',
    'write settings, compose files and units of a hardware profile, for its machine',
    (config, flags) => renderCommand(config, { out: String(flags['out']), json: flags['json'] === true }, output),
    'profile',
  )
    .requiredOption('--out <dir>', 'folder to write to')
    .option('--json', 'answer as JSON');
  command(
    'start [workflow]',
    'bring everything up, run a workflow (the example by default) through the Temporal command line, and show what came of it',
    (config, flags, [workflow]) =>
      startCommand(
        config,
        secretReader(config),
        {
          systemPackages: flags['systemPackages'] !== false,
          ...(workflow === undefined
            ? {}
            : {
                workflow: { name: workflow, ...inputOf(flags) },
              }),
          reload: () => configOf(flags, 'here'),
        },
        output,
      ),
  )
    .option('--input <json>', 'input of the workflow')
    .option('--no-system-packages', 'never install system packages');
  command('dev', 'run a worker, and another one after each edit of the project', (config) =>
    devCommand(config, argv.slice(1), output),
  );
  program
    .command('init [directory]')
    .description('write a project that runs: configuration, one workflow, a test')
    .exitOverride()
    .action((directory: string | undefined) => done(initCommand({ directory: directory ?? '.' }, output)));
  return program;
}

/** `--input` of a workflow, where it was given. */
const inputOf = (flags: Flags): { input?: string } =>
  typeof flags['input'] === 'string' ? { input: flags['input'] } : {};

async function configOf(flags: Flags, machine: NonNullable<LoadOptions['machine']>): Promise<ResolvedConfig> {
  const texts: Record<string, string | undefined> = {};
  if (typeof flags['config'] === 'string') texts['config'] = flags['config'];
  for (const { key } of KNOWN_KEYS) {
    const flag = key.replace('.*', '.default');
    const name = flagName(flag)
      .slice(2)
      .replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    const value = flags[name];
    if (typeof value === 'string') texts[flag] = value;
  }
  return loadConfig({ cwd: process.cwd(), env: process.env, flags: texts, machine });
}

const secretReader = (config: ResolvedConfig) => (secret: Parameters<typeof readSecret>[0]) =>
  readSecret(secret, process.env, [join(config.root, 'secrets'), join(config.home, 'secrets')]);
