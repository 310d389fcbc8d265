"""The JavaScript client's own gates and tests."""

import json

import pytest

from tests.javascript.node import Package, beside


def test_the_types_hold(package: Package) -> None:
    package.run("tsc", "--noEmit")


def test_format_and_lint(package: Package) -> None:
    package.run("biome", "check", "--error-on-warnings", ".")


def test_its_own_tests_pass(package: Package) -> None:
    package.run("vitest", "run")


def test_the_core_is_as_small_as_promised(built: Package) -> None:
    assert "gzipped" in built.run("node", "scripts/size.mjs")


@pytest.mark.parametrize(
    "script",
    [
        "import('@lastseen/client').then((all) => console.log(JSON.stringify(Object.keys(all))))",
        "console.log(JSON.stringify(Object.keys(require('@lastseen/client'))))",
    ],
    ids=["import", "require"],
)
def test_both_kinds_of_modules_load_it(built: Package, script: str) -> None:
    names = json.loads(built.run("node", "-e", script))
    assert {"WebSocketClient", "LastseenError", "parsePosition"} <= set(names)


@pytest.mark.parametrize(
    "script",
    [
        "Promise.all(['', '/react'].map((entry) => import('@lastseen/client' + entry))).then(show)",
        "show(['', '/react'].map((entry) => require('@lastseen/client' + entry)))",
    ],
    ids=["import", "require"],
)
def test_the_hooks_use_the_client_of_the_core(built: Package, script: str) -> None:
    show = """
    function show([core, react]) {
      const client = new core.WebSocketClient({ url: 'http://127.0.0.1:1', token: 't' });
      const { createElement } = require('react');
      const State = () => react.useConnection().state;
      const element = createElement(react.LastseenProvider, { client }, createElement(State));
      console.log(require('react-dom/server').renderToString(element), Object.keys(react).join());
    }
    """
    said = built.run("node", "-e", show + script)
    assert said.startswith("idle ")
    for name in ("useWebSocket", "useChannel", "useTaskWebSocket", "usePresence"):
        assert name in said


def test_whoever_installs_it_gets_its_types(built: Package) -> None:
    program = (
        "import { type TaskOutputEvent, WebSocketClient } from '@lastseen/client';\n"
        "import { events } from '@lastseen/client/events';\n"
        "import { HttpClient } from '@lastseen/client/http';\n"
        "import { LastseenProvider, type TaskHook, useTaskWebSocket } from '@lastseen/client/react';\n"
        "import { type TaskSnapshot, storesOf } from '@lastseen/client/stores';\n"
        "import { sharedClient } from '@lastseen/client/shared';\n"
        "const client = new WebSocketClient({ url: 'http://127.0.0.1:1', token: 't' });\n"
        "export const shared: WebSocketClient = sharedClient({ url: 'http://127.0.0.1:1', token: 't' });\n"
        "export const ids = async (): Promise<void> => {\n"
        "  for await (const { id } of events(client, 'task:x', { last: 5 })) console.log(id);\n"
        "};\n"
        "export const provided: Parameters<typeof LastseenProvider>[0] = { client };\n"
        "export const used = (task: string): TaskHook => useTaskWebSocket(task, 'shop', { last: 5 });\n"
        "export const seen: TaskSnapshot = storesOf(client).task('build').get();\n"
        "client.on('task_output', (event: TaskOutputEvent) => event.data.offset);\n"
        "export const state: string = client.state;\n"
        "export const http = new HttpClient({ url: 'http://127.0.0.1:1', token: 't' });\n"
    )
    options = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom")
    with beside(built, "user.ts", program):
        built.run("tsc", "--ignoreConfig", *options, "user.ts")
