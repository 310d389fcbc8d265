"""The console's own gates and tests. That it can be built, the installation of the package has shown."""

from tests.javascript.node import Package


def test_the_types_hold(console: Package) -> None:
    console.run("tsc", "--noEmit")


def test_format_and_lint(console: Package) -> None:
    console.run("biome", "check", "--error-on-warnings", ".")


def test_its_own_tests_pass(console: Package) -> None:
    console.run("vitest", "run")
