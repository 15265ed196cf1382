"""Command lines to copy: what `stepcli COMMAND --help` ends with."""

from typing import Any

COMMAND_LINES = {
    "plan": (
        "stepcli plan --dataset ssv2 --root /data/ssv2 --backbone dinov2-base",
        "stepcli plan --dataset csv --root recordings.csv --windows 16@4fps/8 --tokens cls",
    ),
    "doctor": ("stepcli doctor", "stepcli doctor --stores /scratch/stores --json"),
    "probe": (
        "stepcli probe --method linear,first-last,step --seeds 5",
        "stepcli probe --method step --task arrow --clip-frames 8 --temporal-crop --set heads=12",
    ),
    "sweep": (
        "stepcli sweep --method step,linear --lr 1e-4,3e-4,1e-3 --set heads=4,8 --dry-run",
        "stepcli sweep sweep.yaml --select --store stores/ssv2",
    ),
    "reproduce": (
        "stepcli reproduce",
        "stepcli reproduce step-ikea-asm --dry-run",
        "stepcli reproduce step-ikea-asm --root /data/ikea_asm",
    ),
    "runs": ("stepcli runs --task arrow --method step", "stepcli runs rr --seed 0"),
    "runs list": ("stepcli runs list --store s2 --seed 0,1",),
    "runs show": ("stepcli runs show step-arrow-s0-65a073",),
    "runs rm": (
        "stepcli runs rm --task arrow --method linear --dry-run",
        "stepcli runs rm step-arrow-s0-65a073 --yes",
    ),
    "results": (
        "stepcli results --compare linear step attentive",
        "stepcli results --chosen --format latex",
        "stepcli results runs/a runs/b --across",
    ),
    "results import": (
        "stepcli results import logits.csv --like step-arrow-s0-65a073 --name my-model",
        "stepcli results import published.csv",
    ),
    "analyse": ("stepcli analyse runs --method step,linear --pairs pairs.csv",),
    "chirality": ("stepcli chirality groups.csv --method linear --seeds 5",),
    "order": ("stepcli order runs",),
    "corruptions": (
        "stepcli corruptions runs",
        "stepcli corruptions runs --method step --format csv --out drops.csv",
    ),
    "calibrate": ("stepcli calibrate runs",),
    "dense": ("stepcli dense runs --method step,self-attention",),
    "predict": (
        "stepcli predict runs/step-* --video a.mp4 --video b.mp4 --format json",
        "stepcli predict runs/step-* --video long.mp4 --window auto --out answers",
    ),
    "picture": ("stepcli picture door-open/019 --out clip.png",),
    "report": ("stepcli report runs --out report",),
    "export": ("stepcli export runs/step-* --out exported --onnx",),
    "push": (
        "stepcli push runs/step-arrow-s0-65a073 --to shared/step",
        "stepcli push stores/a --hub --to me/a-store",
    ),
    "pull": ("stepcli pull me/a-store --hub --out stores/a",),
    "trust": ("stepcli trust my_probe.py", "stepcli trust --list"),
    "methods": ("stepcli methods", "stepcli methods step --store stores/ssv2"),
    "demo": ("stepcli demo --out demo-out",),
    "datasets show": ("stepcli datasets show ssv2",),
    "store list": ("stepcli store list", "stepcli store list /scratch/stores --json"),
    "store rm": ("stepcli store rm stores/old --dry-run", "stepcli store rm stores/old --yes"),
    "store info": ("stepcli store info --store stores/ssv2",),
    "store ls": ("stepcli store ls --state quarantined",),
    "store show": ("stepcli store show 74225",),
    "store verify": ("stepcli store verify --store stores/ssv2 --workers 8",),
    "store repair": ("stepcli store repair --dry-run",),
    "store merge": ("stepcli store merge stores/a stores/b stores/c",),
    "store convert": (
        "stepcli store convert stores/a stores/a-int8 --dtype int8",
        "stepcli store convert stores/a s3://bucket/a",
    ),
    "store compact": ("stepcli store compact --dry-run",),
    "store compare": ("stepcli store compare stores/a stores/a-int8",),
    "store duplicates": ("stepcli store duplicates --store stores/a",),
    "store labels": (
        "stepcli store labels --to clips.csv",
        "stepcli store labels --from clips.csv --dry-run",
        "stepcli store labels --test-share 0.25",
        "stepcli store labels --segments segments.csv --store stores/rec",
        "stepcli store labels --segments EPIC_100_train.csv --store stores/epic --set target=noun",
    ),
    "store export": ("stepcli store export --npy features --tokens cls --store stores/rec",),
}


EXIT_CODES = (
    "Exit codes: 0 done; 1 an error; 2 a wrong option, file or setting; 3 done, but some clips or "
    "files could not be read; 4 a damaged store; 75 stopped by SIGTERM; 130 stopped by Ctrl-C."
)
"""Of every command; a command whose codes mean more lists its own."""


def add_command_lines(command: Any, path: str) -> None:
    """End the help of a command, and of every command below it, with its command lines and the
    exit codes.

    Args:
        command: of Typer.
        path: its words after `stepcli`.
    """
    lines = COMMAND_LINES.get(path)
    examples = ["Examples:", *lines] if lines else []
    codes = [] if "Exit codes:" in (command.help or "") else [EXIT_CODES]
    if lines or not hasattr(command, "commands"):
        command.epilog = "\n\n".join([*examples, *codes])
    for name, inner in getattr(command, "commands", {}).items():
        add_command_lines(inner, f"{path} {name}")
