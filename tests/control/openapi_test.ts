// The OpenAPI document, as a value.

import { assert, assertEquals } from "@std/assert";
import { ROUTES } from "../../lib/control/api.ts";
import { describeApi } from "../../lib/control/openapi.ts";

interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required: boolean }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
}

interface Document {
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const DOCUMENT = describeApi("1.2.3") as unknown as Document;

/** Every `$ref` of a value. */
function referencesIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => key === "$ref" ? [String(inner)] : referencesIn(inner));
}

Deno.test("every reference in the OpenAPI document leads to a schema of it, and every named schema is used", () => {
  const places = Object.keys(DOCUMENT.components.schemas).map((name) => `#/components/schemas/${name}`);
  assertEquals([...new Set(referencesIn(DOCUMENT))].toSorted(), places.toSorted());
});

Deno.test("every parameter of a path is described, and must be given", () => {
  for (const { method, path } of Object.values(ROUTES)) {
    const inPath = (DOCUMENT.paths[path][method].parameters ?? []).filter((parameter) => parameter.in === "path");
    const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    assertEquals(inPath.map(({ name, required }) => [name, required]), names.map((name) => [name, true]), path);
  }
});

Deno.test("a request is described as it is sent: what is parsed is a text, and what has a default may be left out", () => {
  const { NewServer } = DOCUMENT.components.schemas;
  assertEquals(DOCUMENT.paths["/v1/servers"].post.requestBody?.content["application/json"].schema, {
    $ref: "#/components/schemas/NewServer",
  });
  assertEquals([NewServer.required, NewServer.properties?.address.type], [["address", "port"], "string"]);
  const parameters = DOCUMENT.paths["/v1/servers/{server}"].delete.parameters ?? [];
  assertEquals(parameters.map(({ name, required }) => [name, required]), [["server", true], ["drain", false], ["service", false]]);
});

Deno.test("no named schema of the document is a document of its own", () => {
  for (const [name, schema] of Object.entries(DOCUMENT.components.schemas)) {
    for (const key of ["$schema", "$id", "id"]) assert(!Object.hasOwn(schema, key), `${name} has ${key}`);
  }
});
