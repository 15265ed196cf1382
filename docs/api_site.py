"""Make the API reference: one static, searchable site from the docstrings; `make docs`.

    python docs/api_site.py build/docs

The site needs no network and opens from the disk. It holds the modules that guides and own code
import (`MODULES`), not those behind them: those may change without notice.
"""

import re
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

LINK = re.compile(r'<a href="([^"#:]*)#([\w.-]+)">(.*?)</a>', re.DOTALL)
ID = re.compile(r'\bid="([^"]+)"')
MODULES = (
    "stepcli.apply.prediction.api",
    "stepcli.apply.prediction.predict",
    "stepcli.apply.prediction.probes",
    "stepcli.apply.prediction.stream",
    "stepcli.cache",
    "stepcli.cache.schema.clips",
    "stepcli.cache.schema.spec",
    "stepcli.cache.storage.object_client",
    "stepcli.cache.storage.path",
    "stepcli.cache.storage.places",
    "stepcli.cache.store.own_tokens",
    "stepcli.cache.store.store",
    "stepcli.cache.store.streaming",
    "stepcli.cache.store.writer",
    "stepcli.extract.backbones.base",
    "stepcli.extract.backbones.custom_backbone",
    "stepcli.extract.config",
    "stepcli.extract.datasets.clip",
    "stepcli.probe.analysis.calibration",
    "stepcli.probe.analysis.explain",
    "stepcli.probe.config",
    "stepcli.probe.data.layout",
    "stepcli.probe.data.tokens",
    "stepcli.probe.methods.registry",
    "stepcli.probe.nn.bank",
    "stepcli.probe.runs.predictions",
    "stepcli.probe.runs.record",
    "stepcli.probe.runs.stats",
    "stepcli.runtime.errors",
)
"""In the order of the index. Every module that a guide imports is among them; a test asks."""


def make_site(out: Path) -> None:
    """Write index.html, a page per module and the search index below `out`."""
    import pdoc
    import pdoc.render

    from stepcli import __version__

    pdoc.render.configure(
        docformat="google",
        footer_text=f"stepcli {__version__}",
        show_source=True,
        search=True,
    )
    # pdoc shows what a module has once it is imported; some of ours load their names on first use.
    for module in map(import_module, MODULES):
        for name in getattr(module, "__all__", ()):
            setattr(module, name, getattr(module, name))
    pdoc.pdoc(*MODULES, output_directory=out)
    pages = {page: page.read_text() for page in out.rglob("*.html")}
    anchors = {page.resolve(): set(ID.findall(text)) for page, text in pages.items()}
    for page, text in pages.items():
        page.write_text(LINK.sub(partial(_kept, page, anchors), text))


def _kept(page: Path, anchors: dict[Path, set[str]], link: re.Match[str]) -> str:
    """A link to what the site shows; the name alone of what it does not, such as a private base."""
    target = (page.parent / link[1]).resolve() if link[1] else page.resolve()
    return link[0] if link[2] in anchors.get(target, {link[2]}) else link[3]


if __name__ == "__main__":
    make_site(Path(sys.argv[1]))
    print(f"{sys.argv[1]}/index.html: {len(MODULES)} modules")
