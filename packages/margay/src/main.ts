#!/usr/bin/env node
import "./memory.ts"; // first
import { run } from "./run.ts";

process.exitCode = await run(process.argv.slice(2));
