// Validates an OpenRPC document, and the params of its examples against its methods.  node validate.mjs openrpc.json

import { readFileSync } from "node:fs";
import utils from "@open-rpc/schema-utils-js";

const text = readFileSync(process.argv[2], "utf8");
const valid = utils.validateOpenRPCDocument(JSON.parse(text));
if (valid !== true) throw valid;

// Dereferencing would never end on types that hold themselves; the validator of calls needs no more than components.
const api = await utils.parseOpenRPCDocument(JSON.parse(text), { dereference: false });
console.log(`valid: OpenRPC ${api.openrpc}, ${api.methods.length} methods`);

const broken = JSON.parse(text);
delete broken.methods[0].params;
if (utils.validateOpenRPCDocument(broken) === true) throw new Error("a method without params was taken for valid");
