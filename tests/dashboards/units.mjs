// Prints the ids of the units in @grafana/data as JSON. The package needs a browser's window.
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { JSDOM } = require("jsdom");
const { window } = new JSDOM("<!doctype html>", { url: "http://localhost" });
globalThis.window = window;
globalThis.document = window.document;
Object.defineProperty(globalThis, "navigator", { value: window.navigator, configurable: true });
// i18next, which it brings along, advertises itself on the console.
console.log = console.info = () => {};
const { getValueFormats } = require("@grafana/data");
const ids = getValueFormats().flatMap((group) => group.submenu.map((format) => format.value));
process.stdout.write(`${JSON.stringify(ids)}\n`);
