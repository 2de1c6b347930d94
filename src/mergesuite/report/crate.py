"""Results as an RO-Crate: a folder or a zip that says of each file what it is and how it was made.

It holds what a reader and a program need (verdicts, tables, figures, the page, the spec, the record
and the curve of every run) and no weights: `mergesuite train` and `merge` make those again. What is
said of the files is in `crate_terms`. Two crates of one folder of results are the same bytes.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mergesuite.core import sealed, store, writing
from mergesuite.errors import UserError, refused
from mergesuite.experiment.jobs import Jobs
from mergesuite.report import crate_terms
from mergesuite.report.crate_terms import METADATA, Made, Run
from mergesuite.report.publish import KEPT, MADE

MORE = ("tables/*.csv", "tables/*.tex", "figures/*.pdf")
"""Of a paper, beside what is published in git."""
OF_RUNS = (sealed.RUN, "trace.csv", "curve.csv")
SPEC = ("paper.yaml", "reported.csv", "README.md")
START = (1980, 1, 1, 0, 0, 0)
"""The date of every entry of a zip, the first that there is: the JSON says when a file was made."""

Files = dict[str, Path]
"""Place in the crate -> file."""


def write(
    folders: Sequence[Path], profile: str, results: Path, out: Path, organisation: str = ""
) -> int:
    """Pack the papers in `folders` at a profile as `out`, a zip, or a folder that is made.

    `organisation`: who ran and publishes it, if that is to be said.

    Returns:
        How many files are in it, beside its metadata.

    Raises:
        UserError: a paper is not finished or damaged, or `out` is there already as a folder.
        MachineError: the disk is full, or `out` cannot be written.
    """
    if out.is_dir():
        raise UserError(f"{out} is there already: choose another --out, or delete it")
    files: Files = {}
    root = results / profile
    made = [_paper(folder, profile, results, files) for folder in folders]
    if (page := root / "report" / "index.html").is_file():
        files["report/index.html"] = page
    document = crate_terms.document(profile, made, files, organisation)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (_zip if out.suffix == ".zip" else _folder)(out, dict(sorted(files.items())), text)
    return len(files)


def _paper(folder: Path, profile: str, results: Path, files: Files) -> Made:
    """What there is of a paper; its files are added to `files`."""
    jobs, name = Jobs(folder.name, profile, str(results)), folder.name
    root = results / profile
    for made in MADE:
        sealed.check(sealed.beside(root / name / made))
    mine = {
        file.relative_to(root).as_posix(): file
        for pattern in (*KEPT, *MORE)
        for file in sorted((root / name).glob(pattern))
    }
    spec = {f"{name}/{file}": folder / file for file in SPEC if (folder / file).is_file()}
    files |= mine | spec
    runs = list(_runs(jobs, root, files))
    return Made(name, jobs.paper, list(mine), list(spec), runs)


def _runs(jobs: Jobs, root: Path, files: Files) -> Iterator[Run]:
    """Every run that the paper asks for, wherever it lies."""
    for subject in jobs.subjects:
        for seed in jobs.seeds(subject):
            folder = Path(jobs.run(subject, seed))
            there = [name for name in OF_RUNS if (folder / name).is_file()]
            record = sealed.check(folder / sealed.RUN, [n for n in there if n != sealed.RUN])
            is_model = jobs.subjects[subject] is None
            read = jobs.train_files if is_model else jobs.merge_files
            model = subject if is_model else jobs.paper.model_of(subject)
            sources = [f for f in [jobs.manifest(model), *read(subject, seed)] if _is_text(f)]
            files |= {_place(folder / name, root): folder / name for name in there}
            files |= {_place(Path(file), root): Path(file) for file in sources}
            yield Run(
                f"{subject}, seed {seed}",
                record,
                list(dict.fromkeys(_place(Path(file), root) for file in sources)),
                [_place(folder / name, root) for name in there],
            )


def _is_text(file: str) -> bool:
    """Whether what a run reads is in the crate: records and manifests are, weights are not."""
    return file.endswith(".json") and Path(file).is_file()


def _place(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _zip(out: Path, files: Mapping[str, Path], text: str) -> None:
    with store.whole(out) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        for name, content in ((METADATA, text.encode()), *_contents(files)):
            entry = zipfile.ZipInfo(name, START)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(entry, content)


def _contents(files: Mapping[str, Path]) -> Iterator[tuple[str, bytes]]:
    for name, file in files.items():
        yield name, file.read_bytes()


def _folder(out: Path, files: Mapping[str, Path], text: str) -> None:
    """The folder takes its name when it is whole."""
    try:
        with writing.beside(out) as part:
            (part / METADATA).write_text(text, encoding="utf-8")
            for name, file in files.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, part / name)
            part.rename(out)
    except OSError as error:
        raise refused(
            f"cannot make {out}: {error.strerror}; choose another --out", error
        ) from error
