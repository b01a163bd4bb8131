import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { environmentName, flagName, KNOWN_KEYS } from '../config/keys.ts';
import { loadConfig, type LoadOptions } from '../config/load-config.ts';
import type { ResolvedConfig } from '../config/resolved.ts';
import { readSecret } from '../config/secrets.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { packageVersion } from '../provision/package-root.ts';
import { Exit, exitCodeOf } from './exit.ts';
import { type Output, terminal } from './output.ts';

// Commands are loaded when they are called: gRPC and engines take a second to load.
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
    load: Pick<LoadOptions, 'machine' | 'fromSources'> = {},
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
      done(
        await act(
          await configOf(flags, { ...load, fromSources: load.fromSources === true || flags['fromSources'] === true }),
          flags,
          self.args,
        ),
      );
    });
  };

  command('up', 'find, fetch and start Temporal, Trino, PostgreSQL and the DataFusion image', async (config, flags) =>
    (await import('./commands/up.ts')).upCommand(
      config,
      secretReader(config),
      { systemPackages: flags['systemPackages'] !== false, json: flags['json'] === true },
      output,
    ),
  )
    .option('--no-system-packages', 'never install system packages')
    .option('--json', 'answer as JSON');
  command('down', 'stop what `spillway up` started', async (config) =>
    (await import('./commands/down.ts')).downCommand(config, output),
  );
  command('status', 'where everything is, and whether it answers', async (config, flags) =>
    (await import('./commands/status.ts')).statusCommand(config, { json: flags['json'] === true }, output),
  ).option('--json', 'answer as JSON');
  command('doctor', 'check this host and every part, and say what mends what is wrong', async (config, flags) =>
    (await import('./commands/doctor.ts')).doctorCommand(
      config,
      secretReader(config),
      { json: flags['json'] === true },
      output,
    ),
  ).option('--json', 'answer as JSON');
  command('worker', 'run steps and workflows of this host', async (config) =>
    (await import('./commands/worker.ts')).workerCommand(config, secretReader(config), output),
  ).option('--from-sources', 'build the workflows even where a `bundle` is configured');
  command('run <what>', 'start a job file or a workflow, and follow it to its end', async (config, flags, [what]) => {
    process.once('SIGINT', () => interrupt.abort());
    return (await import('./commands/run.ts')).runCommand(
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
    async (config, flags, [what]) =>
      (await import('./commands/plan.ts')).planCommand(
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
  command(
    'pool [act] [what] [size]',
    'who holds and who waits, in bytes; or pause, resume, drain, resize <size>, kick <lease>, pin <pipeline/step> <size>, forget <pipeline/step>',
    async (config, flags, [act, what, size]) => {
      process.once('SIGINT', () => interrupt.abort());
      return (await import('./commands/pool.ts')).poolCommand(
        config,
        {
          ...(act === undefined ? {} : { act }),
          ...(what === undefined ? {} : { what }),
          ...(size === undefined ? {} : { size }),
          ...(typeof flags['because'] === 'string' ? { because: flags['because'] } : {}),
          json: flags['json'] === true,
          watch: flags['watch'] === true,
          estimates: flags['estimates'] === true,
        },
        output,
        interrupt.signal,
      );
    },
  )
    .option('--because <text>', 'why, for people who look at the pool')
    .option('--watch', 'show it again and again')
    .option('--estimates', 'what it remembers of steps, and what their next runs are lent at first')
    .option('--json', 'answer as JSON');
  command(
    'sweep',
    'show files on scratch and in memory that belong to no open run, or remove them',
    async (config, flags) =>
      (await import('./commands/sweep.ts')).sweepCommand(
        config,
        { remove: flags['remove'] === true, json: flags['json'] === true },
        output,
      ),
  )
    .option('--remove', 'remove them; without it nothing is changed')
    .option('--json', 'answer as JSON');
  command(
    'checkpoints [act] [id]',
    'rows that are kept to be found again; or remove <id>, remove all',
    async (config, flags, [act, id]) =>
      (await import('./commands/checkpoints.ts')).checkpointsCommand(
        config,
        { ...(act === undefined ? {} : { act }), ...(id === undefined ? {} : { id }), json: flags['json'] === true },
        output,
      ),
  ).option('--json', 'answer as JSON');
  command(
    'simulate <scenario>',
    'run a scenario of asks through the decisions of the pool, under a virtual clock; nothing runs',
    async (config, flags, [scenario]) =>
      (await import('./commands/simulate.ts')).simulateCommand(
        config,
        {
          scenario: scenario!,
          json: flags['json'] === true,
          ...(typeof flags['svg'] === 'string' ? { svg: flags['svg'] } : {}),
        },
        output,
      ),
  )
    .option('--svg <file>', 'draw the bytes lent over time')
    .option('--json', 'answer as JSON');
  command(
    'render',
    'write settings, compose files and units of a hardware profile, for its machine',
    async (config, flags) =>
      (await import('./commands/render.ts')).renderCommand(
        config,
        { out: String(flags['out']), json: flags['json'] === true },
        output,
      ),
    { machine: 'profile' },
  )
    .requiredOption('--out <dir>', 'folder to write to')
    .option('--json', 'answer as JSON');
  command(
    'start [workflow]',
    'bring everything up, run a workflow (the example by default) through the Temporal command line, and show what came of it',
    async (config, flags, [workflow]) =>
      (await import('./commands/start.ts')).startCommand(
        config,
        secretReader(config),
        {
          systemPackages: flags['systemPackages'] !== false,
          ...(workflow === undefined
            ? {}
            : {
                workflow: { name: workflow, ...inputOf(flags) },
              }),
          reload: () => configOf(flags, {}),
        },
        output,
      ),
  )
    .option('--input <json>', 'input of the workflow')
    .option('--no-system-packages', 'never install system packages');
  command(
    'bundle',
    'build the workflows ahead, for workers that start without a build',
    async (config, flags) =>
      (await import('./commands/bundle.ts')).bundleCommand(config, { out: String(flags['out']) }, output),
    { fromSources: true },
  ).requiredOption('--out <file>', 'file to write; name it in the configuration as `bundle`');
  command(
    'dev',
    'run a worker, and another one after each edit of the project',
    async (config) => (await import('./commands/dev.ts')).devCommand(config, argv.slice(1), output),
    { fromSources: true },
  );
  program
    .command('init [directory]')
    .description('write a project that runs: configuration, one workflow, one transform, a test')
    .exitOverride()
    .action(async (directory: string | undefined) =>
      done((await import('./commands/init.ts')).initCommand({ directory: directory ?? '.' }, output)),
    );
  return program;
}

/** `--input` of a workflow, where it was given. */
const inputOf = (flags: Flags): { input?: string } =>
  typeof flags['input'] === 'string' ? { input: flags['input'] } : {};

async function configOf(flags: Flags, load: Pick<LoadOptions, 'machine' | 'fromSources'>): Promise<ResolvedConfig> {
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
  return loadConfig({ cwd: process.cwd(), env: process.env, flags: texts, ...load });
}

const secretReader = (config: ResolvedConfig) => (secret: Parameters<typeof readSecret>[0]) =>
  readSecret(secret, process.env, [join(config.root, 'secrets'), join(config.home, 'secrets')]);
