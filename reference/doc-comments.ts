import { readFileSync } from 'node:fs';
import ts from 'typescript';

/** What the doc comment of an interface's property says. */
export interface Documented {
  /** First to last line of the text, as one line. */
  readonly text: string;
  /** Of `@defaultValue`, as it is written there. */
  readonly defaultValue?: string;
  /** It must be given. */
  readonly required: boolean;
}

/** Doc comments of the properties that an interface declares itself, and of those within them: `pool.limit`, `trino.*.url`. */
export function documentedKeys(file: string, interfaceName: string): ReadonlyMap<string, Documented> {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const interfaces = new Map(source.statements.filter(ts.isInterfaceDeclaration).map((one) => [one.name.text, one]));
  const found = new Map<string, Documented>();
  const read = (members: ts.NodeArray<ts.TypeElement>, path: string): void => {
    for (const member of members) {
      if (!ts.isPropertySignature(member) || !member.type) continue;
      const key = `${path}${member.name.getText()}`;
      found.set(key, documentationOf(member));
      const { type } = member;
      if (ts.isTypeLiteralNode(type)) read(type.members, `${key}.`);
      const entries = recordValue(type);
      const named = interfaces.get(entries ?? '');
      if (named) read(named.members, `${key}.*.`);
    }
  };
  const start = interfaces.get(interfaceName);
  if (!start) throw new Error(`${file} declares no interface ${interfaceName}`);
  read(start.members, '');
  return found;
}

/** `TrinoOptions` of `Record<string, TrinoOptions>`. */
function recordValue(type: ts.TypeNode): string | undefined {
  if (!ts.isTypeReferenceNode(type) || type.typeName.getText() !== 'Record') return undefined;
  return type.typeArguments?.[1]?.getText();
}

function documentationOf(member: ts.PropertySignature): Documented {
  const comments = ts.getJSDocCommentsAndTags(member).filter(ts.isJSDoc);
  const oneLine = (comment: ts.JSDoc['comment']): string =>
    (ts.getTextOfJSDocComment(comment) ?? '').replace(/\s+/g, ' ').trim();
  const tag = comments.flatMap(({ tags }) => [...(tags ?? [])]).find(({ tagName }) => tagName.text === 'defaultValue');
  return {
    text: comments.map(({ comment }) => oneLine(comment)).join(' '),
    required: member.questionToken === undefined,
    ...(tag && { defaultValue: oneLine(tag.comment) }),
  };
}
