// The files of a drop or a choice, each with its name relative to what was dropped: "trial/static.mp4".
import text from "./text.js";

// What is dropped may be asked for only while the event lasts; the folders in it are read afterwards.
export function dropped(data) {
  const entries = [...data.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  return async (most) => {
    const found = [];
    for (const entry of entries.filter(Boolean)) {
      if (entry instanceof File) found.push({ path: entry.name, file: entry });
      else await collect(entry, found, most);
    }
    return found;
  };
}

export function chosen(files) {
  return async (most) => {
    if (files.length > most) throw tooMany(most);
    return files.map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  };
}

async function collect(entry, found, most) {
  if (entry.isFile) {
    if (found.length >= most) throw tooMany(most);
    found.push({ path: entry.fullPath.replace(/^\//, ""), file: await ask((resolve, reject) => entry.file(resolve, reject), entry) });
    return;
  }
  const reader = entry.createReader();
  for (;;) { // a folder tells its content in parts, and is through when a part is empty
    const part = await ask((resolve, reject) => reader.readEntries(resolve, reject), entry);
    if (!part.length) return;
    for (const child of part) await collect(child, found, most);
  }
}

async function ask(start, entry) {
  try {
    return await new Promise(start);
  } catch {
    throw new Error(`${entry.name}: ${text.upload.unreadable}`);
  }
}

const tooMany = (most) => new Error(text.upload.too_many.replace("{most}", most));
