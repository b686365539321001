"""A plan of benchmark runs as a shell script: ready to run on the machine with the GPU."""

import shlex
from importlib import resources

from adapter_twin.calibration.plan import MAX_MODEL_LEN, RANGE_RATIO, PlannedRun, RunPlan, Server

_HEAD = """\
#!/usr/bin/env bash
# {title}
# {runs} runs on {servers} servers, about {minutes:.0f} minutes with the servers' starts.
# Needs vLLM (0.8.5 or newer), curl, and {disk:.1f} GB of disk for {dummies} dummy adapters.
# Run it on a machine with one such GPU and nothing else on it, then:
#   adaptwin twin calibrate PROFILE --results "$RESULTS" -o mine.json
set -euo pipefail
{model}
: "${{RESULTS:=adaptwin-results}}"
: "${{PORT:=8000}}"
mkdir -p "$RESULTS"
VERSION=$(python3 -c 'from importlib.metadata import version; print(version("vllm"))')
server=

stop() {{
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  server=
}}
trap stop EXIT

# A LoRA adapter of random weights: rank. All adapters are this one under different names.
adapter() {{
  [ -f "$RESULTS/adapters/rank-$1/adapter_model.safetensors" ] ||
    python3 "$RESULTS/dummy_adapter.py" "$RESULTS/adapters/rank-$1" "$1" {geometry}
}}

# Start vLLM and wait until it is healthy: name, arguments.
serve() {{
  local log="$RESULTS/$1.log"
  shift
  stop
  vllm serve "$MODEL" --port "$PORT" {engine} "$@" >"$log" 2>&1 &
  server=$!
  until curl -sf "http://127.0.0.1:$PORT/health" >/dev/null; do
    kill -0 "$server" 2>/dev/null || {{ tail -n 30 "$log" >&2; exit 1; }}
    sleep 2
  done
  kv_cache_tokens=$(grep -oE 'GPU KV cache size: [0-9,]+' "$log" | tail -n 1 | tr -dc '0-9' || true)
}}

# The client, with what all runs have in common.
client() {{
  vllm bench serve --model "$MODEL" --port "$PORT" --dataset-name random --ignore-eos \\
    --random-range-ratio {ratio} "$@"
}}

# One run that counts: name, slots, rank, adapters, then the client's arguments.
bench() {{
  local name=$1 slots=$2 rank=$3 adapters=$4
  shift 4
  local lora=()
  if [ "$adapters" -gt 0 ]; then
    lora=(--lora-modules)
    for ((i = 0; i < adapters; i++)); do lora+=("adapter-$i"); done
  fi
  local known=()
  if [ -n "$kv_cache_tokens" ]; then known=("kv_cache_tokens=$kv_cache_tokens"); fi
  client "$@" ${{lora[@]+"${{lora[@]}}"}} --save-result --save-detailed \\
    --result-dir "$RESULTS" --result-filename "$name.json" \\
    --metadata "max_loras=$slots" "max_lora_rank=$rank" "adapters=$adapters" "vllm_version=$VERSION" \\
    {metadata} ${{known[@]+"${{known[@]}}"}}
}}

cat >"$RESULTS/dummy_adapter.py" <<'PYTHON'
{dummy}PYTHON
"""

_COVERING = 5
"""Requests per adapter that let nearly every adapter be drawn."""
_ASK = "MODEL=${MODEL:?name it as vllm serve shall be given it}"


def plan_script(plan: RunPlan, model: str | None) -> str:
    """The script; `model` is what `vllm serve` is given, or the environment's `MODEL` if None."""
    parts = [_head(plan, model)]
    number = 0
    for place, server in enumerate(plan.servers, start=1):
        mine = [run for run in plan.runs if run.server == server]
        parts.append(_server(server, mine, f"Server {place} of {len(plan.servers)}"))
        for run in mine:
            number += 1
            parts.append(_run(run, number, len(plan.runs)))
    parts.append('stop\necho "results are in $RESULTS"\n')
    return "\n".join(parts)


def _head(plan: RunPlan, model: str | None) -> str:
    profile = plan.profile
    geometry = profile.model
    sizes = (geometry.layers, geometry.hidden_size, geometry.query_size, geometry.kv_size)
    ranks = {server.max_lora_rank for server in plan.servers if server.max_loras}
    given = f"MODEL=${{MODEL:-{shlex.quote(model)}}}" if model else _ASK
    return _HEAD.format(
        title=f"Calibration runs for {geometry.name} on {profile.gpu.name}, to be read by adaptwin.",
        runs=len(plan.runs),
        servers=len(plan.servers),
        minutes=plan.expected_s / 60.0,
        disk=sum(map(profile.adapter_bytes, ranks)) / 1e9,
        dummies=len(ranks),
        model=given,
        geometry=" ".join(map(str, (*sizes, geometry.intermediate_size))),
        engine=_engine(plan),
        ratio=RANGE_RATIO,
        metadata=_metadata(plan),
        dummy=(resources.files("adapter_twin.calibration") / "dummy_adapter.py").read_text(encoding="utf-8"),
    )


def _engine(plan: RunPlan) -> str:
    profile = plan.profile
    engine = profile.engine
    arguments = {
        "--max-model-len": MAX_MODEL_LEN,
        "--max-num-seqs": engine.max_num_seqs,
        "--max-num-batched-tokens": engine.max_num_batched_tokens,
        "--gpu-memory-utilization": engine.gpu_memory_utilization,
        "--tensor-parallel-size": profile.tensor_parallel_size,
    }
    return " ".join(["--no-enable-prefix-caching", *(f"{key} {value}" for key, value in arguments.items())])


def _metadata(plan: RunPlan) -> str:
    profile = plan.profile
    engine = profile.engine
    pairs = {
        "profile_model": profile.model.name,
        "profile_gpu": profile.gpu.name,
        "max_model_len": MAX_MODEL_LEN,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
    }
    return " ".join(shlex.quote(f"{key}={value}") for key, value in pairs.items())


def _server(server: Server, runs: list[PlannedRun], title: str) -> str:
    """Start it, and warm it up: kernels compile, and adapters' tokenizers load, at their first use."""
    busiest = max(run.max_concurrency for run in runs)
    most = max(run.adapters for run in runs)
    warm = (
        f"client --num-prompts {max(2 * busiest, _COVERING * most)} --max-concurrency {busiest} "
        "--random-input-len 64 --random-output-len 16"
    )
    if not server.max_loras:
        return f"\n# {title}: without LoRA.\nserve {server.name}\n{warm}"
    rank = server.max_lora_rank
    return (
        f"\n# {title}: {server.max_loras} slots of rank {rank}.\n"
        f"adapter {rank}\n"
        f"modules=() names=()\n"
        f"for ((i = 0; i < {most}; i++)); do\n"
        f'  modules+=("adapter-$i=$RESULTS/adapters/rank-{rank}") names+=("adapter-$i")\n'
        f"done\n"
        f"serve {server.name} --enable-lora --max-loras {server.max_loras} --max-lora-rank {rank} "
        f'--max-cpu-loras {max(most, server.max_loras)} --lora-modules "${{modules[@]}}"\n'
        f'{warm} --lora-modules "${{names[@]}}"'
    )


def _run(run: PlannedRun, number: int, total: int) -> str:
    what = f": {', '.join(run.identifies)}" if run.identifies else ""
    return (
        f"# Run {number} of {total}, about {run.expected_s:.0f} s{what}\n"
        f"bench {number:02d}-{run.name} {run.server.max_loras} {run.server.max_lora_rank} {run.adapters} "
        f"--num-prompts {run.prompts} --max-concurrency {run.max_concurrency} "
        f"--random-input-len {run.prompt_tokens} --random-output-len {run.output_tokens} --seed {number}"
    )
