/** The OpenAPI document of the control API, made from ROUTES when somebody asks for it. */

import * as z from "zod/mini";
import { type Route, ROUTES, type Schema } from "./api.ts";

type Json = Record<string, unknown>;

const JSON_TYPE = "application/json";

/** The document for this version of the program. */
export function describeApi(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const [operationId, route] of Object.entries(ROUTES)) {
    (paths[route.path] ??= {})[route.method] = describe(operationId, route);
  }
  return {
    openapi: "3.1.0",
    info: { title: "balancer", version, license: { name: "MIT" } },
    components: { schemas: describeNamed() },
    paths,
  };
}

function describe(operationId: string, { summary, description, deprecated, request = {}, responses }: Route): Json {
  const parameters = [...describeParameters("path", request.params), ...describeParameters("query", request.query)];
  return {
    summary,
    description,
    deprecated,
    operationId,
    parameters: parameters.length > 0 ? parameters : undefined,
    requestBody: request.body && { required: true, content: { [JSON_TYPE]: { schema: describeSchema(request.body) } } },
    responses: Object.fromEntries(
      Object.entries(responses).map(([status, { description, schema, type = JSON_TYPE }]) => [
        status,
        { description, content: { [type]: { schema: describeSchema(schema) } } },
      ]),
    ),
  };
}

function describeParameters(where: "path" | "query", schema: Schema | undefined): Json[] {
  if (schema === undefined) return [];
  const { properties, required = [] } = z.toJSONSchema(schema, OPTIONS);
  return Object.entries(properties ?? {}).map(([name, value]) => ({
    name,
    in: where,
    required: required.includes(name),
    description: (value as Json).description,
    schema: value,
  }));
}

/** Requests and answers are described as they are sent: a parsed text is a text, a field with a default may be left out. */
const OPTIONS: Parameters<typeof z.toJSONSchema>[1] = {
  io: "input",
  override({ jsonSchema }) {
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum; // says only that it is a whole number
  },
};

/** The schema itself, or where it stands if it has a name. */
function describeSchema(schema: Schema): Json {
  const id = z.globalRegistry.get(schema)?.id;
  return id === undefined ? withoutFrame(z.toJSONSchema(schema, OPTIONS)) : { $ref: placeOf(id) };
}

function describeNamed(): Json {
  const { schemas } = z.toJSONSchema(z.globalRegistry, { ...OPTIONS, uri: placeOf });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, withoutFrame(schema)]));
}

function placeOf(id: string): string {
  return `#/components/schemas/${id}`;
}

/** Without the keys that only a document of its own needs. */
function withoutFrame({ $schema: _schema, $id: _id, id: _name, ...schema }: Json): Json {
  return schema;
}
