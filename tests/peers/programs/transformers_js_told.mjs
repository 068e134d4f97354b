// The ONNX folder in transformers.js, as a page or a Node program would load it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { resolve } = createRequire(process.cwd() + "/package.json");
const { pipeline, env } = await import(pathToFileURL(resolve("@huggingface/transformers")));

const { onnx, prompts, new_tokens } = JSON.parse(readFileSync(0));
env.allowRemoteModels = false;
env.localModelPath = "";
const options = { max_new_tokens: new_tokens, do_sample: false };
const answer = {};
for (const dtype of ["fp32", "q8"]) {
  const tell = await pipeline("text-generation", onnx, { dtype });
  const opened = prompts.map(prompt => "<|endoftext|>" + prompt);
  const alone = [];
  for (const text of opened) alone.push((await tell(text, options))[0].generated_text);
  const together = (await tell(opened, options)).map(told => told[0].generated_text);
  const chat = await tell([{ role: "user", content: prompts[0] }], options);
  answer[dtype] = { alone, together, chat: prompts[0] + chat[0].generated_text.at(-1).content };
}
console.log(JSON.stringify(answer));
