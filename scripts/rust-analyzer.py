#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""rust-analyzer.py KERNEL-PROJECT OBJECTS OUT: adds our two crates to what the kernel's script wrote, and
turns paths of the Debian tree into paths of this machine."""

import copy
import json
import os
import sys

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main():
    source, objects, out = sys.argv[1:]
    with open(source) as f:
        project = json.load(f)
    crates = [c for c in project["crates"]]
    index = {c["display_name"]: i for i, c in enumerate(crates)}

    def dep(name):
        return {"crate": index[name], "name": name}

    def add(name, root, deps, like):
        crate = copy.deepcopy(crates[index[like]])
        crate.pop("source", None)
        crate.update(display_name=name, root_module=os.path.join(REPO, root), deps=[dep(d) for d in deps],
                     is_workspace_member=True, is_proc_macro=False)
        crate.setdefault("env", {})["RUST_MODFILE"] = "oxtcp"
        crate["env"]["OXTCP_BINDINGS"] = os.path.join(objects, "rust/sys/bindings_generated.rs")
        index[name] = len(crates)
        crates.append(crate)

    add("oxtcp_engine", "rust/engine/src/lib.rs", ["core"], "kernel")
    wanted = ["core", "kernel", "pin_init", "zerocopy", "zerocopy_derive", "oxtcp_engine"]
    add("oxtcp", "rust/oxtcp/main.rs", [d for d in wanted if d in index], "kernel")
    project["crates"] = crates

    text = json.dumps(project, indent=1, sort_keys=True)
    if os.path.exists("/.oxtcp-tree"):
        tree = os.environ["OXTCP_CACHE"] + "/tree"
        text = text.replace('"/usr/', f'"{tree}/usr/').replace('"/usr"', f'"{tree}/usr"')
    with open(out, "w") as f:
        f.write(text + "\n")
    print(f"  wrote   {out}: {len(crates)} crates")


if __name__ == "__main__":
    main()
